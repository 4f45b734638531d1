"""Results as tables, with the aims beside, on a terminal and in the model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from eval.heldout import EVERY_DOMAIN, RECALL_AT, Tally
from eval.labels import COPIED, NEAREST, RANDOM, LabelScore
from eval.stats import Share
from indexer.errors import BadInput

START, END = "<!-- heldout:start -->", "<!-- heldout:end -->"
SECTION = "## Measured on the example domains"
AIM = "aim"
# Of the demonstration base on documents it never saw; a column without an aim has none.
AIMS = (AIM, "", "-", "-", "0.72 or more", "-", "0.995 or more", "0.85 or more", "0.05 or less")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table before it is drawn: a title, a head and rows of cells."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def heldout_grid(tallies: Sequence[Tally]) -> Grid:
    """Domains as counts, all domains with 95 % intervals, then the aims."""
    # A domain that retrieves four passages has no recall at five.
    depth = min(RECALL_AT, max((tally.retrieved for tally in tallies), default=RECALL_AT))
    head = (
        "mode",
        "domain",
        f"recall@{depth}",
        "right sentence cited",
        "cited first",
        "right and copied exactly",
        "quotes exact in answers given",
        "refused, unanswerable",
        "refused, answerable",
    )
    rows = [_heldout_row(tally) for tally in tallies]
    return Grid("Held-out questions, by answer mode", head, (*rows, AIMS))


def label_grid(scores: Sequence[LabelScore]) -> Grid:
    """One row for each choice of demonstrations."""
    aims = {NEAREST: "0.85 or more", RANDOM: "0.05 or less"}
    rows = tuple(
        (s.demonstrations, str(s.accuracy), aims.get(s.demonstrations, "-")) for s in scores
    )
    total = scores[0].accuracy.total if scores else 0
    title = f"banking77, 77 labels, {total} test rows ({COPIED}: what the retriever alone gets)"
    return Grid(title, ("demonstrations", "right label", AIM), rows)


def _heldout_row(tally: Tally) -> tuple[str, ...]:
    whole = tally.domain == EVERY_DOMAIN
    shares = (tally.recall, tally.cited, tally.first, tally.right, tally.exact, tally.refused)
    cells = [_cell(share, whole) for share in (*shares, tally.false_refused)]
    return (tally.mode, tally.domain, *cells)


def _cell(share: Share, whole: bool) -> str:
    return str(share) if whole else f"{share.hits}/{share.total}"


def show(console: Console, grid: Grid) -> None:
    """Draw the table for a person."""
    table = Table(title=grid.title, title_justify="left")
    for name in grid.head:
        table.add_column(name)
    for row in grid.rows:
        table.add_row(*row, end_section=EVERY_DOMAIN in row)
    console.print(table)


def markdown(grid: Grid) -> str:
    """The table for the model card."""
    lines = [grid.head, ("---",) * len(grid.head), *grid.rows]
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"**{grid.title}**\n\n{body}\n"


def read_card(card: Path) -> str:
    """The card, with a section for the tables at its end if it has none yet."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{card} cannot be read: {error}", "Check --card") from error
    if START not in text and END not in text:
        return f"{text.rstrip()}\n\n{SECTION}\n{START}\n{END}\n"
    if text.find(END) < text.find(START) or START not in text:
        raise BadInput(f"{card} lacks {START} before {END}", "Put both where the tables belong")
    return text


def write_card(card: Path, grids: Sequence[Grid], note: str) -> None:
    """Replace what stands between the card's markers."""
    before, _, rest = read_card(card).partition(START)
    _, _, after = rest.partition(END)
    body = "\n".join([note + "\n", *(markdown(grid) for grid in grids)])
    card.write_text(f"{before}{START}\n{body}{END}{after}", encoding="utf-8")
