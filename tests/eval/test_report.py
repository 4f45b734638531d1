"""Tables, and the model card that they are written into."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from eval.heldout import Tally
from eval.labels import NEAREST, NONE, LabelScore
from eval.report import END, START, Grid, heldout_grid, label_grid, markdown, show, write_card
from eval.stats import Share
from indexer.errors import BadInput

GRID = Grid("A title", ("one", "two"), (("1", "2"),))


def row(domain: str, retrieved: int = 5) -> Tally:
    shares = [Share(n, 20) for n in (20, 19, 18, 18, 17, 16, 1)]
    return Tally("generate", domain, retrieved, *shares)


def test_domains_are_counted_and_the_whole_has_intervals_and_aims() -> None:
    one, whole, aims = heldout_grid([row("legal"), row("all")]).rows
    assert one == ("generate", "legal", *(f"{n}/20" for n in (20, 19, 18, 18, 17, 16, 1)))
    assert whole[3] == "0.95 (19/20; 0.76 to 0.99)"
    assert aims[0] == "aim"
    assert len(one) == len(whole) == len(aims) == len(heldout_grid([]).head)


@pytest.mark.parametrize(("retrieved", "name"), [(4, "recall@4"), (5, "recall@5"), (8, "recall@5")])
def test_recall_is_named_by_what_was_retrieved(retrieved: int, name: str) -> None:
    assert heldout_grid([row("all", retrieved)]).head[2] == name


def test_labels_have_their_aims_beside() -> None:
    grid = label_grid([LabelScore(NONE, Share(0, 200)), LabelScore(NEAREST, Share(170, 200))])
    assert [cells[2] for cells in grid.rows] == ["-", "0.85 or more"]
    assert "200 test rows" in grid.title


def test_a_table_is_drawn_with_every_cell() -> None:
    out = StringIO()
    show(Console(file=out, width=80), GRID)
    assert all(cell in out.getvalue() for cell in ("A title", "one", "two", "1", "2"))


def test_markdown_has_a_line_for_the_head_the_rule_and_each_row() -> None:
    assert markdown(GRID).splitlines()[2:] == ["| one | two |", "| --- | --- |", "| 1 | 2 |"]


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    card = tmp_path / "CARD.md"
    card.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    write_card(card, [GRID], "Measured today.")
    write_card(card, [GRID], "Measured today.")
    text = card.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{START}\nMeasured today.\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert text.count("| 1 | 2 |") == 1


def test_a_card_without_markers_gets_a_section_at_its_end(tmp_path: Path) -> None:
    card = tmp_path / "CARD.md"
    card.write_text("# A card\n\nWords.\n", encoding="utf-8")
    write_card(card, [GRID], "Measured today.")
    text = card.read_text(encoding="utf-8")
    assert text.startswith("# A card\n\nWords.\n\n## ")
    assert text.index(START) < text.index("| 1 | 2 |") < text.index(END)


@pytest.mark.parametrize("text", [START, END, f"{END} {START}"])
def test_a_card_with_half_its_markers_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    card = tmp_path / "CARD.md"
    card.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="lacks"):
        write_card(card, [GRID], "note")
    assert card.read_text(encoding="utf-8") == text


def test_a_card_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"CARD\.md"):
        write_card(tmp_path / "CARD.md", [GRID], "note")
