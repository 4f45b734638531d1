"""What a study found, as Markdown: scores with intervals, who is surely better, at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.report import Grid, markdown
from eval.study.blocks import Section, Sides
from eval.study.findings import findings
from eval.study.results import Record
from eval.study.spec import Study


def report(study: Study, records: Sequence[Record], *, times: bool = True) -> str:
    """The whole report; tasks in the study's order. What is drawn stands in the HTML report."""
    parts = [f"# {study.name}", f"Study `{study.digest()[:12]}`, {len(records)} answers."]
    for section in findings(study, records, times=times):
        parts += [f"## {section.title}", *_written(section)]
    return "\n\n".join(parts).rstrip() + "\n"


def _written(section: Section) -> Iterable[str]:
    for block in section.blocks:
        if isinstance(block, str):
            yield block
        elif isinstance(block, Grid):
            yield markdown(block)
        elif isinstance(block, Sides):
            yield markdown(_sides(block))


def _sides(sides: Sides) -> Grid:
    rows = tuple(
        tuple(map(_cell, (one.question, one.expected, one.first, one.second))) for one in sides.rows
    )
    return Grid(sides.title, ("question", "expected", sides.right, sides.wrong), rows)


def _cell(text: str) -> str:
    """One line of a table."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= 120 else flat[:117] + "..."
