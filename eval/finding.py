"""`dslm search`: what a question finds in the live snapshot, for a person to read."""

import json
import textwrap
from typing import Any

import typer

from adapters.lookup import Lookup, open_lookup
from adapters.release import Release
from indexer.errors import BadInput
from indexer.search.filters import parse_filter
from indexer.search.ranking import Question
from indexer.settings import Paths


def show_found(paths: Paths, release: Release, question: str, only: str | None) -> None:
    """Passages and demonstrations as the release looks them up, whatever their scores; `only` is
    a request's `dslm.filter` as JSON."""
    conditions = read_filter(only)
    with open_lookup(paths, release) as lookup:
        [asked] = lookup.ask([question])
        _show_passages(lookup, asked, conditions)
        _show_demonstrations(lookup, asked)


def read_filter(given: str | None) -> dict[str, Any]:
    """BadInput unless it is a JSON object."""
    try:
        found = json.loads(given or "{}")
    except json.JSONDecodeError as error:
        raise BadInput(f"--filter {given!r} is not JSON: {error}", "Write it in quotes") from error
    if not isinstance(found, dict):
        raise BadInput(f"--filter {given!r} is no object", 'Write {"field": value}')
    return found


def _show_passages(lookup: Lookup, asked: Question, conditions: dict[str, Any]) -> None:
    wanted = lookup.release.retrieval
    everything = wanted.model_copy(update={"min_passage_score": -1.0})
    found = lookup.retriever.search(asked, everything, parse_filter(conditions), lookup.scorer)
    typer.echo(f"passages, {wanted.mode} (used from {wanted.min_passage_score:.2f} up)")
    for passage in (hit.passage for hit in found):
        place = f"{passage.document} [{passage.start}, {passage.start + len(passage.text)})"
        page = f", page {passage.page}" if passage.page else ""
        also = f", also in {', '.join(c.document for c in passage.copies)}" * bool(passage.copies)
        typer.echo(f"  {passage.score:.2f}  {place}{page}{also}")
        typer.echo(textwrap.indent(passage.text, "        "))


def _show_demonstrations(lookup: Lookup, asked: Question) -> None:
    wanted = lookup.release.retrieval
    assert asked.similar is not None
    typer.echo(f"demonstrations (used from {wanted.min_demonstration_score:.2f} up)")
    solved = lookup.retriever.demonstrations(asked.similar, wanted.demonstrations)
    for one in reversed(solved):
        typer.echo(f"  {one.score:.2f}  {one.question}\n        {one.answer}")
