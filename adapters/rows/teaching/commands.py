"""The commands `dslm data label` and `dslm data write`: rows from a teacher, kept apart."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import examples
from indexer.errors import BadInput
from indexer.settings import store_errors

if TYPE_CHECKING:
    from adapters.rows.example import Example
    from adapters.rows.teaching.endpoint import Endpoint
    from adapters.rows.teaching.teach import Step, Taught, TeachSettings

Url = Annotated[str, typer.Option(help="an OpenAI-compatible endpoint, up to /v1")]
Named = Annotated[str, typer.Option("--teacher", help="the model's name there")]
Out = Annotated[Path, typer.Option(help="a folder for the rows; the same command goes on with it")]
Key = Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="the endpoint's key")]
Judge = Annotated[str, typer.Option(help="another model there that must find a row fit")]
Like = Annotated[Path | None, typer.Option(help="solved examples, for tone and length")]
Labels = Annotated[Path | None, typer.Option(help="the only answers there are, one a line")]
Agreement = Annotated[float, typer.Option(min=0.0, max=1.0, help="of two answers, as --near")]
Parallel = Annotated[int, typer.Option(min=1, help="requests at once")]
Most = Annotated[int | None, typer.Option(min=1, help="rows at most")]
Mask = Annotated[bool, typer.Option(help="mask personal data before anything is sent")]
Structured = Annotated[bool, typer.Option(help="send the JSON schema of the reply along")]
Seed = Annotated[int, typer.Option(help="of the teacher's samples and of what it is shown")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be asked, and ask nothing")]


def register(app: typer.Typer) -> None:
    """Add these commands to the group `data`."""
    url = "--url http://127.0.0.1:8000/v1 --teacher Qwen/Qwen2.5-72B-Instruct"
    app.command("label", epilog=examples(f"data label questions.jsonl {url} --out labelled"))(label)
    app.command("write", epilog=examples(f"data write documents/*.md {url} --out written"))(write)


def label(
    files: Annotated[list[Path], typer.Argument(help="questions, JSON lines; no answer is read")],
    url: Url,
    teacher: Named,
    out: Out,
    key: Key = "",
    judge: Judge = "",
    like: Like = None,
    labels: Labels = None,
    agreement: Agreement = 0.5,
    parallel: Parallel = 4,
    most: Most = None,
    mask: Mask = True,
    structured: Structured = True,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Let a teacher answer questions, each twice; kept is what it answers the same both times."""
    from adapters.rows.example import Example
    from adapters.rows.reading import read_questions

    asked = [one for file in files for one in read_questions(file)]
    given = [replace(one, answer="") for one in asked if isinstance(one, Example) and one.turns]
    if len(given) < len(asked):
        typer.echo(f"{len(asked) - len(given)} rows without a question are left out", err=True)
    settings = _settings(agreement, seed, parallel, labels, mask)
    run = _Run("label", files, out, _endpoint(url, teacher, key, structured), judge, like, settings)
    run.start(given[:most], dry=dry_run)


def write(
    files: Annotated[list[Path], typer.Argument(help=".txt, .md or JSON lines with `text`")],
    url: Url,
    teacher: Named,
    out: Out,
    key: Key = "",
    judge: Judge = "",
    like: Like = None,
    agreement: Agreement = 0.5,
    parallel: Parallel = 4,
    most: Most = None,
    mask: Mask = True,
    structured: Structured = True,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Let a teacher write a question and its answer for each piece of some texts.

    Kept is what it answers the same when it is asked that question of that text again.
    """
    from adapters.rows.example import Example
    from adapters.rows.reading import read_examples
    from adapters.rows.teaching.teach import pieces

    found = [one for file in files for one in read_examples(file)]
    texts = [one for one in found if isinstance(one, Example) and one.kind == "text"]
    if not texts:
        raise BadInput(f"{files[0]} holds no text", "Give .txt, .md or JSON lines with `text`")
    settings = _settings(agreement, seed, parallel, None, mask)
    run = _Run("write", files, out, _endpoint(url, teacher, key, structured), judge, like, settings)
    run.start(list(pieces(texts))[:most], dry=dry_run)


def _endpoint(url: str, teacher: str, key: str, structured: bool) -> "Endpoint":
    from adapters.rows.teaching.endpoint import Endpoint

    if not url.startswith(("http://", "https://")):
        raise BadInput(f"--url {url} is none", "Give one such as http://127.0.0.1:8000/v1")
    return Endpoint(url, teacher, key, structured=structured)


def _settings(
    agreement: float, seed: int, parallel: int, labels: Path | None, mask: bool
) -> "TeachSettings":
    from adapters.rows.teaching.teach import TeachSettings
    from indexer.text.masking import KINDS

    lines = _read(labels).splitlines() if labels else []
    named = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if labels and len(named) < 2:
        raise BadInput(f"{labels} names {len(named)} labels", "Write two or more, one a line")
    kinds = tuple(KINDS) if mask else ()
    return TeachSettings(agreement, seed=seed, parallel=parallel, labels=named, kinds=kinds)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read {path} ({error})", "Check the path") from error


class _Run:
    """One command: asks, writes the folder, says what came of it."""

    def __init__(
        self,
        task: str,
        files: Sequence[Path],
        out: Path,
        endpoint: "Endpoint",
        judge: str,
        like: Path | None,
        settings: "TeachSettings",
    ) -> None:
        self._task, self._files, self._out = task, [*files, *([like] if like else [])], out
        self._endpoint, self._judge, self._settings = endpoint, judge, settings
        self._like = _solved(like)

    def start(self, given: "Sequence[Example]", *, dry: bool) -> None:
        requests = len(given) * (3 if self._judge else 2)
        if dry:
            typer.echo(f"{len(given)} rows, {requests} requests to {self._endpoint.url} at most")
            return
        from adapters.rows.teaching.endpoint import Teacher
        from adapters.rows.teaching.teach import NOTEBOOK, Lesson, write

        notebook = self._out / NOTEBOOK
        with store_errors(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
            if any(self._out.iterdir()) and not notebook.is_file():
                raise BadInput(f"{self._out} holds other files", "Name another folder")
        with ExitStack() as stack:
            teacher = Teacher(self._endpoint, notebook)
            stack.callback(teacher.close)
            judge = None
            if self._judge:
                other = replace(self._endpoint, model=self._judge)
                judge = Teacher(other, self._out / f"judge-{NOTEBOOK}")
                stack.callback(judge.close)
            lesson = Lesson(teacher, self._settings, judge, self._like)
            step = stack.enter_context(_progress(len(given)))
            made = list((lesson.label if self._task == "label" else lesson.write)(given, step))
        self._tell(write(self._out, made, self._taught(dict(lesson.masked))))

    def _taught(self, masked: dict[str, int]) -> "Taught":
        from adapters.rows.teaching.teach import Taught

        told = {name: value for name, value in asdict(self._settings).items() if name != "parallel"}
        told["labels"], told["kinds"] = json.dumps(told["labels"]), ", ".join(told["kinds"])
        inputs = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in self._files}
        return Taught(
            task=self._task,
            teacher=self._endpoint.model,
            judge=self._judge,
            settings=told,
            inputs=inputs,
            masked=masked,
        )

    def _tell(self, taught: "Taught") -> None:
        left = ", ".join(f"{count} {kind}" for kind, count in taught.rejected.items())
        typer.echo(f"{taught.rows} rows in {self._out}; left out: {left or 'none'}")


def _solved(like: Path | None) -> "list[Example]":
    from adapters.rows.example import Example
    from adapters.rows.reading import read_examples

    found = [one for one in (read_examples(like) if like else ()) if isinstance(one, Example)]
    solved = [one for one in found if one.kind == "chat"]
    if like and not solved:
        raise BadInput(f"{like} holds no solved example", "Give questions with answers")
    return solved


@contextmanager
def _progress(count: int) -> "Iterator[Step]":
    """On stderr: the result alone goes to stdout."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking", total=count)
        yield lambda: bar.advance(task)
