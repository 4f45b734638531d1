"""Preparing rows: nothing leaks between splits, nothing is lost unsaid, the same comes out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.rows.example import Example
from adapters.rows.likeness import Alike
from adapters.rows.pool import PoolSettings
from adapters.rows.prepare import PrepareSettings, prepare, write
from adapters.rows.splits import Shares, families, split
from indexer.errors import BadInput
from indexer.text.masking import KINDS

NONE = Shares(0, 0)


def file(folder: Path, name: str, *rows: Mapping[str, Any]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def asked(question: str, answer: str = "Because of the rule.", **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


def numbered(count: int) -> list[dict[str, Any]]:
    """Questions that are not alike."""
    words = "amber birch cedar dune ember fjord grove heath islet jetty knoll lagoon".split()
    return [
        asked(f"Why is {words[n % 12]} {words[n // 12 % 12]} {n * 7919}?", f"Due to {n * n}.")
        for n in range(count)
    ]


def test_of_examples_alike_the_first_stays_and_the_others_are_named(tmp_path: Path) -> None:
    rows = file(
        tmp_path,
        "rows.jsonl",
        asked("Why must the parcel be signed for at the door?"),
        asked("Why must the parcel be signed for at the door?"),
        asked("why must the parcel  be signed for at the door"),
        asked("Where do I report a parcel that never came?", "At the desk."),
    )
    found = prepare(PrepareSettings((rows,), shares=NONE))
    assert [one.place for one in found.splits["train"]] == ["rows.jsonl:1", "rows.jsonl:4"]
    assert [(fault.place, fault.kind) for fault in found.faults] == [
        ("rows.jsonl:2", "duplicate"),
        ("rows.jsonl:3", "near duplicate"),
    ]
    assert found.facts.rejected == {"duplicate": 1, "near duplicate": 1}


def test_nothing_that_is_evaluated_on_is_learned(tmp_path: Path) -> None:
    rows = file(tmp_path, "rows.jsonl", asked("May I return a worn coat?"), *numbered(3))
    exam = file(tmp_path, "exam.jsonl", asked("May I return a worn coat", "No, never."))
    found = prepare(PrepareSettings((rows,), against=(exam,), shares=NONE))
    (fault,) = found.faults
    assert (fault.place, fault.kind) == ("rows.jsonl:1", "contamination")
    assert "exam.jsonl:1" in fault.reason


@pytest.mark.parametrize(
    "row",
    [
        {"question": "May I return a worn coat?"},
        {"query": "May I return a worn coat?", "label": 3},
        {"question": "May I return a worn coat?", "answer": 3},
        {"messages": [{"role": "user", "content": "May I return a worn coat?"}]},
    ],
)
def test_an_evaluation_set_needs_no_answers(tmp_path: Path, row: Mapping[str, Any]) -> None:
    rows = file(tmp_path, "rows.jsonl", asked("May I return a worn coat?"), *numbered(3))
    exam = file(tmp_path, "exam.jsonl", row, {"odd": 1})
    found = prepare(PrepareSettings((rows,), against=(exam,), shares=NONE))
    assert [(fault.place, fault.kind) for fault in found.faults] == [
        ("exam.jsonl:2", "evaluation set"),
        ("rows.jsonl:1", "contamination"),
    ]


def test_an_evaluation_set_without_questions_is_an_error(tmp_path: Path) -> None:
    rows, exam = file(tmp_path, "rows.jsonl", *numbered(3)), file(tmp_path, "e.jsonl", {"odd": 1})
    with pytest.raises(BadInput, match=r"holds no question to check against \(e.jsonl:1"):
        prepare(PrepareSettings((rows,), against=(exam,), shares=NONE))


LONG = (
    "A mill grinds nine sacks of rye every day and half as many sacks of oats on each of the other"
    " two days of a working week"
)


@pytest.mark.parametrize(
    "row",
    [
        asked(f"Is it known that 45 sacks result? {LONG}, they say. What was the rye?", "Nine."),
        asked("What do they tell of mills?", f"They tell this: {LONG}. It makes 45 sacks."),
        {"text": f"From an old book. {LONG}. In five days that makes 45 sacks."},
        {
            "messages": [
                {"role": "user", "content": LONG},
                {"role": "assistant", "content": "45"},
                {"role": "user", "content": "And in ten days?"},
                {"role": "assistant", "content": "90"},
            ]
        },
    ],
    ids=["question", "answer", "text", "earlier turn"],
)
def test_what_is_evaluated_on_is_found_wherever_a_row_holds_it(
    tmp_path: Path, row: Mapping[str, Any]
) -> None:
    rows = file(tmp_path, "rows.jsonl", row, *numbered(3))
    exam = file(tmp_path, "exam.jsonl", asked(f"{LONG}. How many sacks are that?", "45"))
    found = prepare(PrepareSettings((rows,), against=(exam,), shares=NONE))
    assert [(fault.place, fault.kind) for fault in found.faults] == [
        ("rows.jsonl:1", "contamination")
    ]


@pytest.mark.parametrize("where", ["system", "question"])
def test_an_instruction_that_all_rows_have_makes_no_duplicates_of_them(
    tmp_path: Path, where: str
) -> None:
    labels = ", ".join(f"label {n} for messages of kind {n * 7}" for n in range(40))
    told = f"Put the message of our customer into one of these: {labels}. The message:"
    rows = [
        {
            "messages": [
                *([{"role": "system", "content": told}] if where == "system" else []),
                {
                    "role": "user",
                    "content": f"{told} {row['question']}"
                    if where == "question"
                    else row["question"],
                },
                {"role": "assistant", "content": f"label {n % 40}"},
            ]
        }
        for n, row in enumerate(numbered(60))
    ]
    twice = [*rows, rows[3]]
    found = prepare(
        PrepareSettings((file(tmp_path, "rows.jsonl", *twice),), shares=Shares(0.2, 0.2))
    )
    assert {name: len(rows) for name, rows in found.splits.items()} == {
        "train": 36,
        "validation": 12,
        "test": 12,
    }
    assert [(fault.place, fault.kind) for fault in found.faults] == [("rows.jsonl:61", "duplicate")]


def test_a_system_text_makes_no_duplicates_of_the_few_rows_that_have_it(tmp_path: Path) -> None:
    system = {"role": "system", "content": " ".join(f"Rule {n}: be brief." for n in range(60))}
    rows = [
        {
            "messages": [
                system,
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["answer"]},
            ]
        }
        for row in numbered(5)
    ]
    found = prepare(PrepareSettings((file(tmp_path, "rows.jsonl", *rows),), shares=NONE))
    assert (len(found.splits["train"]), found.faults) == (5, [])


def test_a_row_that_asks_what_a_given_split_asks_is_left_out(tmp_path: Path) -> None:
    rows = file(
        tmp_path,
        "rows.jsonl",
        asked("May I return a worn coat?", "Yes, within two weeks."),
        *numbered(3),
    )
    held = file(tmp_path, "held.jsonl", asked("May I return a worn coat?", "No, you may not ever."))
    found = prepare(PrepareSettings((rows,), test=(held,), shares=NONE))
    assert [one.place for one in found.splits["test"]] == ["held.jsonl:1"]
    assert len(found.splits["train"]) == 3
    assert [(fault.place, fault.kind) for fault in found.faults] == [
        ("rows.jsonl:1", "across splits")
    ]


def test_two_labels_for_one_question_are_a_contradiction(tmp_path: Path) -> None:
    rows = file(
        tmp_path, "r.jsonl", asked("My card is lost", "lost"), asked("My card is lost", "pin")
    )
    found = prepare(PrepareSettings((rows,), shares=NONE))
    assert [fault.reason for fault in found.faults] == [
        "answers 'pin' where r.jsonl:1 answers 'lost'"
    ]


def test_a_group_is_never_torn_apart(tmp_path: Path) -> None:
    rows = [{**row, "group": f"patient {n % 9}"} for n, row in enumerate(numbered(90))]
    found = prepare(
        PrepareSettings((file(tmp_path, "rows.jsonl", *rows),), shares=Shares(0.2, 0.2))
    )
    groups = {name: {one.group for one in rows} for name, rows in found.splits.items()}
    assert {name: len(rows) for name, rows in found.splits.items()} == {
        "train": 70,
        "validation": 10,
        "test": 10,
    }
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]


def test_personal_data_is_masked_and_counted(tmp_path: Path) -> None:
    row = asked("Mail me at ann@a.example", "Sent to ann@a.example.")
    found = prepare(
        PrepareSettings(
            (file(tmp_path, "rows.jsonl", row),), shares=NONE, pool=PoolSettings(kinds=tuple(KINDS))
        )
    )
    (one,) = found.splits["train"]
    assert (one.question, one.answer) == ("Mail me at <EMAIL>", "Sent to <EMAIL>.")
    assert found.facts.masked == {"email": 2}


def test_general_rows_are_mixed_to_the_share_and_what_came_of_it_is_said(tmp_path: Path) -> None:
    rows = file(tmp_path, "rows.jsonl", *numbered(40))
    general = file(
        tmp_path,
        "general.jsonl",
        *(asked(f"Say {n * 104729} backwards", str(n)) for n in range(12)),
    )
    settings = PrepareSettings((rows,), general=(general,), shares=NONE)
    found = prepare(settings)
    assert len(found.splits["train"]) == 50
    assert found.facts.domain_share == 0.8
    few = prepare(PrepareSettings((rows,), general=(general,), shares=NONE, share=0.5))
    assert few.facts.domain_share == 40 / 52


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (asked("Why?", " "), "empty"),
        (asked(" "), "empty"),
        (asked("Why?", "So.<|im_end|>"), "template"),
        (asked("Why?", "Caf\ufffd"), "encoding"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "So. "}, "preference"),
        (
            {
                "messages": [{"role": "user", "content": "a"}] * 2
                + [{"role": "assistant", "content": "b"}]
            },
            "role",
        ),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "role"),
    ],
)
def test_what_nothing_can_be_learned_from_is_left_out(
    tmp_path: Path, row: dict[str, Any], kind: str
) -> None:
    found = prepare(PrepareSettings((file(tmp_path, "r.jsonl", row, *numbered(1)),), shares=NONE))
    assert [(fault.place, fault.kind) for fault in found.faults] == [("r.jsonl:1", kind)]


def test_the_same_files_give_the_same_bytes_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = file(tmp_path, "rows.jsonl", *numbered(60), *numbered(5), {"no": "row"})
    settings = PrepareSettings((rows,), shares=Shares(0.1, 0.1), seed=3)
    made = []
    for name in ("a", "b"):
        facts = write(prepare(settings), tmp_path / name)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {
        "train.jsonl",
        "validation.jsonl",
        "test.jsonl",
        "rejected.jsonl",
        "manifest.json",
    }
    assert sum(facts.rows.values()) + sum(facts.rejected.values()) == 66
    assert facts.rejected == {"duplicate": 5, "form": 1}
    with pytest.raises(BadInput, match="not an empty folder"):
        write(prepare(settings), tmp_path / "a")


def test_what_leaves_nothing_says_what_most_rows_lacked(tmp_path: Path) -> None:
    rows = file(tmp_path, "rows.jsonl", {"a": 1}, {"b": 2})
    with pytest.raises(BadInput, match=r"2 were left out as 'form', the first at rows\.jsonl:1"):
        prepare(PrepareSettings((rows,)))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=40),
    st.integers(0, 3),
)
@settings(max_examples=60)
def test_families_are_never_torn_and_no_example_is_lost(
    drawn: list[tuple[int, int]], seed: int
) -> None:
    examples = [
        Example(f"f:{n}", "chat", ({"role": "user", "content": str(n)},), "a", group=str(g or ""))
        for n, (g, _) in enumerate(drawn)
    ]
    kin = {n: min(n, other) for n, (_, other) in enumerate(drawn)}
    made = split(examples, kin, Shares(0.2, 0.3), seed)
    assert sorted(n for numbers in made.values() for n in numbers) == list(range(len(examples)))
    assert len(made["test"]) <= 0.3 * len(examples)
    where = {number: name for name, numbers in made.items() for number in numbers}
    for family in families(examples, kin):
        assert len({where[number] for number in family}) == 1
    for number, example in enumerate(examples):
        assert where[number] == where[kin[number]]
        assert all(
            where[number] == where[at]
            for at, other in enumerate(examples)
            if example.group and other.group == example.group
        )


def test_alike_finds_the_first_of_many() -> None:
    alike = Alike(0.8)
    for n in range(300):
        alike.add(f"The clerk at window {n * 7919} stamps forms about topic {n * 104729}.")
    alike.add("A parcel that never arrived is reported at the counter in the hall.")
    near = "A parcel that never arrived is reported at the counter in the old hall"
    assert alike.first(near) == 300
    assert alike.first("Nothing like it") is None
    assert Alike(1.0).first(near) is None
