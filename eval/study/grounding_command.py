"""`dslm eval grounding`: whether a study's answers rest on what they cite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.scoring.grounding import Supports

EXAMPLES = (
    "eval grounding study.yaml",
    "eval grounding study.yaml --nli nli-deberta-v3-base",
    "eval grounding study.yaml --judge big --judge-url https://models.example",
)


def grounding(
    study: Annotated[Path, typer.Argument(help="a study whose answers are there, YAML")],
    out: Annotated[Path | None, typer.Option(help="where its answers are kept")] = None,
    nli: Annotated[str | None, typer.Option(help="an NLI cross-encoder beside the words")] = None,
    judge: Annotated[str | None, typer.Option(help="a model that is asked yes or no")] = None,
    judge_url: Annotated[str, typer.Option(help="its endpoint")] = "http://127.0.0.1:8080",
    judge_key_env: Annotated[str | None, typer.Option(help="variable with its key")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="verdicts asked for at once")] = 4,
) -> None:
    """Say how many claims of the answers are supported by the sentences that they cite.

    By words always; by an NLI model and a judge where they are given. Verdicts that could not be
    had are counted beside, and stand in no share.
    """
    from eval.report import markdown
    from eval.scoring.grounding import by_words
    from eval.study.commands import answers_folder
    from eval.study.grounding import by_judge, by_nli, grounding_grid, model_name
    from eval.study.results import Results
    from eval.study.spec import read_study

    read = read_study(study)
    records = Results(answers_folder(study, out), read).ordered()
    if not records:
        raise BadInput(f"{study} has no answers yet", f"Run `dslm eval run {study}`")
    ways: list[tuple[str, Supports]] = [("by words", by_words)]
    if nli:
        ways.append((f"by {model_name(nli)}", by_nli(nli)))
    if judge:
        key = _key(judge_key_env)
        ways.append((f"by {judge}, asked", by_judge(judge_url, judge, key, parallel)))
    for task in read.tasks:
        own = [one for one in records if one.task == task.name]
        for name, supports in ways:
            typer.echo(markdown(grounding_grid(f"{task.name}, {name}", own, supports)))


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    if name not in os.environ:
        raise BadInput(f"The judge wants a key in {name}", "Set it, and run again")
    return os.environ[name]
