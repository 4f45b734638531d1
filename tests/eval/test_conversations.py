"""Ways of looking up a conversation are compared on the same ones, and rows are checked."""

import json
from pathlib import Path

import pytest

from eval.conversations import KINDS, Outcome, grid, measure, read_conversations, ways
from eval.questions import Question
from indexer.errors import BadInput
from tests.eval.test_tune import NAMES, SOLVED, _open

QUOTE = "It is kept with care in a dry place, {} (drawer {})."
ROWS = [
    {
        "id": f"c{n}",
        "kind": KINDS[n % 4],
        "turns": [f"Where is {name}?", "In a drawer.", "In which one is it?"],
        "document": f"{name}.md",
        "sentence": QUOTE.format(name, n),
    }
    for n, name in enumerate(NAMES)
]


def write(folder: Path, *rows: object) -> Path:
    file = folder / "conversations.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def test_what_needs_its_conversation_is_found_with_it_and_not_alone(tmp_path: Path) -> None:
    asked = read_conversations(write(tmp_path, *ROWS))
    strays = [Question("q", "other", "Who won the race?", None, None)]
    with _open(tmp_path / "snapshot", SOLVED) as lookup:
        found = measure(lookup, asked, strays)
    assert list(found)[:4] == ["none", "auto", "questions", "turns"]
    assert sum(found["questions"].found) > sum(found["none"].found)
    assert found["auto"].ranks == found["questions"].ranks
    assert len(found["auto"].kept) == 1
    table = grid(found, "x")
    assert [row[0] for row in table.rows] == list(found)
    assert table.rows[0][7] == "-"
    assert all(len(row) == len(table.head) for row in table.rows)


def test_outcomes_of_several_domains_are_counted_together() -> None:
    one = Outcome(("need",), (1.0,), (True,))
    assert one.joined(Outcome(("alone",), (0.0,), ())).found == [True, False]


def test_every_way_looks_up_the_question_itself() -> None:
    turns = (("user", "One?"), ("assistant", "Yes."), ("user", "Two?"))
    for way in ways(turns):  # type: ignore[arg-type]
        assert "Two?" in way.text
        assert any("Two?" in text for _, text in way.weighted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "odd"}, "is no conversation"),
        ({"more": 1}, "is no conversation"),
        ({"turns": ["a", "b"]}, "no turns"),
        ({"turns": "a"}, "no turns"),
    ],
)
def test_a_row_of_another_form_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=rf"conversations\.jsonl:1 .*{message}"):
        read_conversations(write(tmp_path, {**ROWS[0], **change}))
