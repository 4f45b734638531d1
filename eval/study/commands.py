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
    from eval.study.spec import Study
    from indexer.records import Vectors

eval_app = group("Evaluation: ask the same questions under several conditions, and compare.")

StudyFile = Annotated[Path, typer.Argument(help="a study, YAML")]
Folder = Annotated[
    Path | None, typer.Option(help="where answers are kept; else beside the study, by its name")
]


@eval_app.command("run", epilog=examples("eval run study.yaml", "eval run study.yaml --dry-run"))
def run(
    study: StudyFile,
    url: Annotated[str, typer.Option(help="the service")] = "http://127.0.0.1:8080",
    out: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say how much would be asked, and ask nothing")
    ] = False,
) -> None:
    """Ask what has no answer yet, then print the report; a run that was killed goes on.

    Exit code 1 where some questions were refused and so have no answer.
    """
    from eval.study.results import Results
    from eval.study.run import questions, run_study
    from eval.study.spec import read_study

    read = read_study(study)
    if dry_run:
        asked = questions(read, embed)
        tokens = sum(len(turn["content"]) for one in asked for turn in one.messages) // 4
        typer.echo(f"{len(asked)} questions, about {tokens} tokens besides what the service adds")
        return
    results = Results(_folder(study, out), read)
    with results:
        refused = asyncio.run(run_study(read, results, url, embed))
    _report(study, out, read, results)
    if refused:
        typer.echo(f"{refused} questions were refused; the same command asks them again", err=True)
        sys.exit(1)


@eval_app.command("report", epilog=examples("eval report study.yaml"))
def report(study: StudyFile, out: Folder = None) -> None:
    """Print the report of what was answered so far; asks nothing."""
    from eval.study.results import Results
    from eval.study.spec import read_study

    read = read_study(study)
    results = Results(_folder(study, out), read)
    if not results.records:
        raise BadInput(f"{study} has no answers yet", f"Run `dslm eval run {study}`")
    _report(study, out, read, results)


def _report(path: Path, out: Path | None, study: "Study", results: "Results") -> None:
    from eval.study.report import report as written

    text = written(study, results.ordered())
    (_folder(path, out) / "report.md").write_text(text, encoding="utf-8")
    typer.echo(text)


def _folder(study: Path, out: Path | None) -> Path:
    return out or study.with_name(f"{study.stem}-answers")


def embed(texts: list[str]) -> "Vectors":
    """With the default embedding model, as questions are compared with questions."""
    from indexer.domain import EmbedderSettings
    from indexer.embedding.embedder import Embedder

    vectors: Vectors = Embedder(EmbedderSettings()).embed_symmetric(texts)
    return vectors
