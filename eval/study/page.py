"""A study's findings as one HTML file that needs nothing else: no script, no font, no network.

Everything that a model or a caller wrote is escaped. It looks right on paper, and in light or dark
as the reader's system has it.
"""

from __future__ import annotations

import html
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import yaml

from eval.report import Grid
from eval.study.blocks import Block, Sides
from eval.study.drawing import drawn
from eval.study.findings import findings
from eval.study.results import Record
from eval.study.spec import Study, file_digest

_PACKAGES: Final = ("dslm", "numpy", "scikit-learn", "matplotlib", "httpx")
_SPREAD: Final = 30
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --faint: #8a94a3;
  --line: #d9dee5; --band: #f4f6f9; --mark: #2f6ba3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181f; --faint: #7d8896;
  --line: #303846; --band: #1c222c; --mark: #7fb3e0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p.about { color: var(--faint); margin-top: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { text-align: left; padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; }
td.number { white-space: nowrap; }
td.said { min-width: 14rem; max-width: 24rem; overflow-wrap: anywhere; white-space: pre-wrap; }
tr.surely td { background: var(--band); }
figure { margin: 1rem 0; max-width: 48rem; }
svg { width: 100%; height: auto; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--mark); }
pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .8rem; }
@media print { :root { --ink: #000; --paper: #fff; --faint: #666; --line: #bbb; --band: #eee; }
  body { max-width: none; padding: 0; font-size: 10pt; } .wide { overflow: visible; }
  table { font-size: 7.5pt; } td.said { min-width: 0; }
  tr, figure, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; } }
"""


def page(study: Study, records: Sequence[Record], *, times: bool = True) -> str:
    """The whole file."""
    sections = findings(study, records, times=times)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(study.name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(study.name)}</h1>",
        f'<p class="about">Study <code>{study.digest()[:12]}</code>, {len(records)} answers.</p>',
    ]
    number = 0
    for section in sections:
        parts.append(f"<h2>{_text(section.title)}</h2>")
        for block in section.blocks:
            number += 1
            parts.append(_block(block, number))
    parts += [*_repeat(study, records), "</body></html>"]
    return "\n".join(parts) + "\n"


def _block(block: Block, number: int) -> str:
    if isinstance(block, str):
        return f"<p>{_text(block)}</p>"
    if isinstance(block, Grid):
        return _table(block)
    if isinstance(block, Sides):
        return _sides(block)
    return f"<figure>{drawn(block, number)}</figure>"


def _table(grid: Grid) -> str:
    """Long ones are folded; a row whose last cell names a winner is marked."""
    head = "".join(f"<th>{_text(name)}</th>" for name in grid.head)
    names_winner = grid.head[-1].startswith("better")
    rows = []
    for row in grid.rows:
        mark = ' class="surely"' if names_winner and row[-1] else ""
        cells = f"<td>{_text(row[0])}</td>"
        cells += "".join(f'<td class="number">{_text(cell)}</td>' for cell in row[1:])
        rows.append(f"<tr{mark}>{cells}</tr>")
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}'
    return _folded(grid.title, f"{table}</tbody></table></div>", len(rows) > _SPREAD)


def _sides(sides: Sides) -> str:
    names = ("question", "expected", f"{sides.right}: right", f"{sides.wrong}: wrong")
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="said">{_text(text.strip())}</td>'
            for text in (one.question, one.expected, one.first, one.second)
        )
        + "</tr>"
        for one in sides.rows
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<h3>{_text(sides.title)}</h3><div class="wide"><table>{table}</table></div>'


def _folded(title: str, body: str, long: bool) -> str:
    if long:
        return f"<details><summary>{_text(title)}</summary>{body}</details>"
    return f"<h3>{_text(title)}</h3>{body}"


def _repeat(study: Study, records: Sequence[Record]) -> Iterator[str]:
    """What it takes to do it again: the study itself, the digests of its files, who answered."""
    told = yaml.safe_dump(_whole(study), sort_keys=False)
    yield "<h2>To repeat it</h2>"
    yield f"<p>Study <code>{study.digest()}</code>, by <code>dslm eval run study.yaml</code>.</p>"
    answered = sorted({(one.condition, one.release or "-") for one in records})
    yield _table(Grid("Releases that answered", ("condition", "release"), tuple(answered)))
    files = tuple(
        (task.name, path.name, file_digest(path)) for task in study.tasks for path in task.files
    )
    yield _table(Grid("Files", ("task", "file", "sha256"), files))
    versions = [("Python", platform.python_version()), *((one, _version(one)) for one in _PACKAGES)]
    yield _table(Grid("Versions that scored", ("package", "version"), tuple(versions)))
    yield f"<details><summary>The study, whole</summary><pre>{_text(told)}</pre></details>"


def _whole(study: Study) -> dict[str, Any]:
    """As it could be read again, its files by their names: where they lay says nothing."""
    told = study.model_dump(mode="json", exclude_defaults=True)
    for task, spec in zip(told["tasks"], study.tasks, strict=True):
        names = {str(path): path.name for path in spec.files}
        task.update(
            {key: names.get(value, value) for key, value in task.items() if isinstance(value, str)}
        )
    return told


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def _text(text: str) -> str:
    """Escaped; what no page may hold is shown as a replacement."""
    plain = "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)
    return html.escape(plain)
