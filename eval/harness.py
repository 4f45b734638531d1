"""`dslm eval harness`: lm-evaluation-harness, unchanged and in an environment of its own.

It is a program like any other that speaks OpenAI's API: what it measures is what is served. It is
never imported, for its dependencies are many and not ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.report import Grid

PACKAGE: Final = "lm_eval[api]==0.4.13"
EXAMPLES: Final = (
    "eval harness support --tasks task.yaml --install",
    "eval harness base --tasks gsm8k,arc_challenge_chat --limit 100",
)
_READY: Final = ".ready"


@dataclass(frozen=True, slots=True)
class HarnessRun:
    """What is asked of it. `tasks`: its own by name, and YAML files of ours."""

    model: str
    url: str
    tasks: tuple[str, ...]
    shots: int | None = None
    limit: int | None = None
    parallel: int = 4


def harness(
    model: Annotated[str, typer.Argument(help="a domain, `domain@2`, or `base`")],
    tasks: Annotated[str, typer.Option(help="names and YAML files, with commas between")],
    url: Annotated[str, typer.Option(help="the service")] = "http://127.0.0.1:8080",
    shots: Annotated[int | None, typer.Option(min=0, help="solved examples; else its own")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="questions of each task")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="questions in flight")] = 4,
    out: Annotated[Path | None, typer.Option(help="folder for results and every answer")] = None,
    install: Annotated[bool, typer.Option("--install", help="install it, once")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the command only")] = False,
) -> None:
    """Measure a domain with tasks of lm-evaluation-harness, through its own OpenAI client.

    Its own tasks are downloaded by it; a YAML file with local rows needs no network.
    """
    from eval.report import markdown

    named = tuple(filter(None, (one.strip() for one in tasks.split(","))))
    run = HarnessRun(model, url, named, shots, limit, parallel)
    program = installed() if install and not dry_run else find_program()
    with tempfile.TemporaryDirectory(prefix="dslm-harness-") as scratch:
        folder = (out or Path(scratch)).resolve()
        command = command_of(program, run, folder)
        if dry_run:
            typer.echo(" ".join(command))
            return
        started = {one.name for one in result_files(folder)}
        run_program(command)
        new = [one for one in result_files(folder) if one.name not in started]
        typer.echo(markdown(results_grid(new, model)))


def home() -> Path:
    """Where its environment is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dslm" / "lm-eval"


def find_program() -> str:
    """The environment that `--install` made, else what is on PATH. BadInput: there is none."""
    own = home() / "bin" / "lm_eval"
    if (home() / _READY).exists():
        return str(own)
    if found := shutil.which("lm_eval"):
        return found
    raise BadInput(
        "lm_eval is neither installed by this command nor on PATH", "Run it again with --install"
    )


def installed() -> str:
    """Its program, after making its environment; half a gigabyte, once. BadInput: pip failed."""
    place = home()
    if not (place / _READY).exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        typer.echo(f"installing {PACKAGE} into {place}", err=True)
        _made([sys.executable, "-m", "venv", str(place)])
        _made([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE])
        (place / _READY).touch()
    return str(place / "bin" / "lm_eval")


def _made(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "")
        raise BadInput(f"{PACKAGE} cannot be installed: {said}", "See whether pip has its index")


def command_of(program: str, run: HarnessRun, folder: Path) -> list[str]:
    """Its command line. BadInput names a task file that is not there."""
    files = [Path(one) for one in run.tasks if one.endswith((".yaml", ".yml"))]
    for file in files:
        if not file.is_file():
            raise BadInput(f"There is no {file}", "Name a task of lm_eval, or a YAML file")
    names = [_task_name(Path(one)) if Path(one) in files else one for one in run.tasks]
    if not names:
        raise BadInput("No task is named", "Give --tasks a name or a YAML file")
    address = f"{run.url.rstrip('/')}/v1/chat/completions"
    told = f"model={run.model},base_url={address},num_concurrent={run.parallel},max_retries=3"
    command = [program, "--model", "local-chat-completions", "--model_args", told]
    command += ["--tasks", ",".join(names), "--apply_chat_template", "--log_samples"]
    command += ["--output_path", str(folder)]
    for place in sorted({str(file.resolve().parent) for file in files}):
        command += ["--include_path", place]
    if run.shots is not None:
        command += ["--num_fewshot", str(run.shots)]
    if run.limit is not None:
        command += ["--limit", str(run.limit)]
    return command


def _task_name(file: Path) -> str:
    """By its `task:`; the file is not read as YAML, for lm_eval's has tags of its own."""
    for line in file.read_text("utf-8").splitlines():
        key, colon, value = line.partition(":")
        if colon and key == "task" and value.strip():
            return value.strip().strip("\"'")
    raise BadInput(f"{file} names no task", "Begin it with `task: its_name`")


def run_program(command: Sequence[str]) -> None:
    """Run it with its progress shown; BadInput with its last line where it fails."""
    key = os.environ.get("DSLM_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    environment = {**os.environ, "OPENAI_API_KEY": key}
    # A variable that names our virtual environment would make it look for packages there.
    environment.pop("VIRTUAL_ENV", None)
    last = ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            typer.echo(line.rstrip("\n"), err=True)
            last = line.strip() or last
    if process.returncode:
        raise BadInput(f"lm_eval ended with {process.returncode}: {last:.300}", "See above")


def result_files(folder: Path) -> list[Path]:
    """What lm_eval has written there, oldest first."""
    return sorted(folder.rglob("results_*.json"), key=lambda file: file.name)


def results_grid(files: Sequence[Path], model: str) -> Grid:
    """Each task's metrics with their standard errors; BadInput if nothing was written."""
    from eval.report import Grid

    if not files:
        raise BadInput("lm_eval wrote no results", "See what it said above")
    found: Mapping[str, Mapping[str, Any]] = json.loads(files[-1].read_text("utf-8"))["results"]
    rows = [
        (task, *name.split(",", 1), f"{value:.4f}", _error(metrics, name))
        for task, metrics in sorted(found.items())
        for name, value in metrics.items()
        if isinstance(value, float | int) and "_stderr" not in name and "," in name
    ]
    head = ("task", "metric", "filter", "value", "standard error")
    return Grid(f"lm-evaluation-harness, {model}", head, tuple(rows))


def _error(metrics: Mapping[str, Any], name: str) -> str:
    metric, _, read = name.partition(",")
    value = metrics.get(f"{metric}_stderr,{read}")
    return f"{value:.4f}" if isinstance(value, float | int) else "-"
