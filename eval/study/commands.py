"""The commands `dslm eval`: run a study, and report what it found."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import examples, group
from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.study.results import Results
    from eval.study.run import Question
    from eval.study.spec import Study
    from indexer.records import Vectors

eval_app = group("Evaluation: ask the same questions under several conditions, and compare.")

StudyFile = Annotated[Path, typer.Argument(help="a study, YAML")]
Folder = Annotated[
    Path | None, typer.Option(help="where answers are kept; else beside the study, by its name")
]
Html = Annotated[Path | None, typer.Option(help="also one HTML file, with everything drawn")]
Times = Annotated[bool, typer.Option(help="without them the same answers give the same bytes")]


@eval_app.command("run", epilog=examples("eval run study.yaml", "eval run study.yaml --dry-run"))
def run(
    study: StudyFile,
    url: Annotated[str, typer.Option(help="the service")] = "http://127.0.0.1:8080",
    out: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say how much would be asked, and ask nothing")
    ] = False,
    html: Html = None,
    times: Times = True,
) -> None:
    """Ask what has no answer yet, then print the report; a run that was killed goes on.

    Exit code 1 where some questions were refused and so have no answer.
    """
    from eval.study.results import Results
    from eval.study.run import questions, run_study
    from eval.study.spec import read_study

    read = read_study(study)
    if dry_run:
        _plan(read, answers_folder(study, out), questions(read, embed))
        return
    results = Results(answers_folder(study, out), read)
    with results:
        refused = asyncio.run(run_study(read, results, url, embed))
    _report(answers_folder(study, out), read, results, html, times)
    if refused:
        typer.echo(f"{refused} questions were refused; the same command asks them again", err=True)
        sys.exit(1)


@eval_app.command(
    "report", epilog=examples("eval report study.yaml", "eval report study.yaml --html study.html")
)
def report(study: StudyFile, out: Folder = None, html: Html = None, times: Times = True) -> None:
    """Print the report of what was answered so far; asks nothing."""
    from eval.study.results import Results
    from eval.study.spec import read_study

    read = read_study(study)
    results = Results(answers_folder(study, out), read)
    if not results.records:
        raise BadInput(f"{study} has no answers yet", f"Run `dslm eval run {study}`")
    _report(answers_folder(study, out), read, results, html, times)


def _plan(study: "Study", folder: Path, asked: "list[Question]") -> None:
    """What is left to ask; how long it takes where answers that are there tell."""
    from eval.study.results import Results

    kept = Results(folder, study).records if folder.is_dir() else {}
    left = [one for one in asked if one.key not in kept]
    tokens = sum(len(turn["content"]) for one in left for turn in one.messages) // 4
    typer.echo(f"{len(left)} questions, about {tokens} tokens besides what the service adds")
    if kept and left:
        each = sum(one.seconds for one in kept.values()) / len(kept) / study.concurrency
        typer.echo(f"about {len(left) * each / 60:.1f} minutes, as the {len(kept)} answers so far")


def _report(
    folder: Path, study: "Study", results: "Results", html: Path | None, times: bool
) -> None:
    from eval.study.report import report as written
    from indexer.settings import write_atomically

    records = results.ordered()
    text = written(study, records, times=times)
    write_atomically(folder / "report.md", text.encode())
    if html:
        from eval.study.page import page

        write_atomically(html, page(study, records, times=times).encode())
        typer.echo(f"{html} is written", err=True)
    typer.echo(text)


def answers_folder(study: Path, out: Path | None) -> Path:
    """Beside the study, by its name, unless another is given."""
    return out or study.with_name(f"{study.stem}-answers")


def embed(texts: list[str]) -> "Vectors":
    """With the default embedding model, as questions are compared with questions."""
    from indexer.domain import EmbedderSettings
    from indexer.embedding.embedder import Embedder

    vectors: Vectors = Embedder(EmbedderSettings()).embed_symmetric(texts)
    return vectors
