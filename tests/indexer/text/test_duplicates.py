"""Texts that say the same are found; texts that differ in what matters are never taken for one."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.domain import DuplicateSettings
from indexer.errors import StoreError
from indexer.text.duplicates import Duplicates, sketch
from indexer.text.sketches import alike, slots_per_band

ROOT = Path(__file__).resolve().parents[3]
CLAUSE = (
    "The supplier shall pay the buyer interest on any amount that is overdue under this agreement"
    " from the due date until the date of payment, whether that is before or after judgment, and"
    " the interest shall be worked out day by day at the rate that the bank publishes. The buyer"
    " may set it off against what it owes, provided that it tells the supplier so in writing and"
    " sends the reckoning with the letter, in which case the supplier answers without delay."
)
SUM = f"{CLAUSE} The sum is £4,000 a year."
_WORDS = st.sampled_from("the valve opens slowly while water runs through it and cools".split())


def _originals(*texts: str, near: float = 0.9, drop: bool = True) -> list[int | None]:
    with Duplicates(DuplicateSettings(near=near, drop=drop)) as duplicates:
        return [duplicates.original(text) for text in texts]


def test_an_equal_text_is_the_first_ones_copy_and_rows_count_the_others() -> None:
    texts = ("One cup.", "Two cups.", "One  cup.", "Three cups.", "Three\ncups.", "Two cups.")
    assert _originals(*texts) == [None, None, 0, None, 2, 1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("the date of payment,", "the date of payment"),
        ("worked out day by day", "worked out, day by day,"),
        ("the rate that the bank", "the rate the bank"),
        ("in writing", "in good writing"),
        ("interest on any", "interest - on any"),
    ],
)
def test_a_text_with_a_word_more_or_less_is_alike(old: str, new: str) -> None:
    other = CLAUSE.replace(old, new)
    assert other != CLAUSE
    expected = [None, 0] if "-" not in new else [None, None]  # a sign may be a minus
    assert _originals(CLAUSE, other) == expected
    assert _originals(other, CLAUSE) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("£4,000", "£5,000"),
        ("£4,000", "$4,000"),
        ("£4,000", "(£4,000)"),
        ("£4,000", "-£4,000"),
        ("4,000 a year", "4,000 a month"),
        ("sum is £4,000", "sum was £4,000"),
        ("shall pay", "may pay"),
        ("shall pay", "shall not pay"),
        ("may set", "may only set"),
        ("bank", "court"),
        ("buyer interest", "lender interest"),
        ("any amount", "any Amount"),
        ("The sum", "The Larkfield sum"),
        ("before or after judgment", "after or before judgment"),
    ],
)
def test_a_text_that_differs_in_what_tells_it_apart_is_another(old: str, new: str) -> None:
    other = SUM.replace(old, new)
    assert other != SUM
    assert _originals(SUM, other, near=0.5) == [None, None]
    assert _originals(other, SUM, near=0.5) == [None, None]


def test_texts_whose_words_change_places_are_not_alike() -> None:
    other = CLAUSE.replace("supplier", "x").replace("buyer", "supplier").replace("x", "buyer")
    assert _originals(CLAUSE, other, near=0.5) == [None, None]


@given(st.lists(_WORDS, min_size=1, max_size=80), st.data())
def test_texts_that_differ_in_a_number_are_never_alike(
    words: list[str], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(words)))
    one, other = data.draw(st.lists(st.integers(0, 99), min_size=2, max_size=2, unique=True))
    texts = [" ".join([*words[:place], str(n), *words[place:]]) for n in (one, other)]
    assert _originals(*texts, near=0.5) == [None, None]


@pytest.mark.parametrize("words", range(1, 8))
def test_a_short_text_is_like_its_equal_only(words: int) -> None:
    text = " ".join(["tea"] * words)
    assert _originals(text, f"{text}!", text, near=0.5) == [None, None, 0]


@pytest.mark.parametrize("words", [2, 7, 8, 24])
def test_what_a_text_of_few_words_says_depends_on_what_stands_above_it(words: int) -> None:
    text = " ".join((["none", "available"] * 12)[:words])
    with Duplicates(DuplicateSettings(near=0.5)) as duplicates:
        assert duplicates.original(text, "Help > Telephone") is None
        assert duplicates.original(text, "Help > Fax") is None
        assert duplicates.original(f"{text}!", "Help > Fax") == (1 if words >= 8 else None)
        assert duplicates.original(text, "Help > Telephone") == 0


def test_a_text_of_many_words_stands_by_itself() -> None:
    with Duplicates(DuplicateSettings()) as duplicates:
        assert duplicates.original(CLAUSE, "Sale > Interest") is None
        assert duplicates.original(CLAUSE, "Lease > Interest") == 0


def test_from_one_on_nothing_but_equal_texts_are_alike() -> None:
    texts = (CLAUSE, CLAUSE.replace("payment,", "payment"), CLAUSE)
    assert _originals(*texts, near=1.0) == [None, None, 0]


def test_nothing_is_dropped_where_the_settings_say_so() -> None:
    assert _originals(CLAUSE, CLAUSE, drop=False) == [None, None]


def test_similarity_is_that_of_three_word_shingles() -> None:
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(40)]
    one, other = sketch(" ".join(words)), sketch(" ".join(words[:36]))
    assert alike(one, other, 34 / 38)
    assert not alike(one, other, 34 / 38 + 1e-9)


@pytest.mark.parametrize("near", [0.5, 0.7, 0.9])
def test_among_many_the_like_is_found_as_by_comparing_all(near: float) -> None:
    draw = random.Random(5)
    texts: list[str] = []
    for _ in range(300):
        words = [f"{draw.choice('bcdf')}{draw.choice('aeiou')}" * 2 for _ in range(60)]
        texts.append(" ".join(words))
        missing = draw.sample(range(60), draw.randint(1, 6))
        texts.append(" ".join(word for i, word in enumerate(words) if i not in missing))
    sketches = [sketch(text) for text in texts]
    kept: list[bytes] = []
    expected: list[int | None] = []
    for one in sketches:
        row = next((i for i, other in enumerate(kept) if alike(one, other, near)), None)
        expected.append(row)
        kept.extend([one] if row is None else [])
    found = _originals(*texts, near=near)
    assert sum(row is not None for row in expected) > 50
    assert found == expected


@pytest.mark.parametrize("near", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_bands_overlook_one_like_pair_in_a_thousand_at_most(near: float) -> None:
    size = slots_per_band(near)
    assert size in (1, 2, 4, 8)
    assert (1 - near**size) ** (32 // size) <= 1e-3


def test_a_text_is_compared_with_a_bounded_number_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0

    def counted(one: bytes, other: bytes, near: float) -> bool:
        nonlocal compared
        compared += 1
        return alike(one, other, near)

    monkeypatch.setattr("indexer.text.duplicates.alike", counted)
    words = [f"{a}{b}" for a in "bcdfgh" for b in "aeiou"]
    endings = [f"{a}{b}{c}x" for a in "klmrs" for b in "aeiou" for c in "fgknprstvz"]
    with Duplicates(DuplicateSettings(near=0.99)) as duplicates:
        for ending in [*endings, *(f"{ending} {ending}" for ending in endings)]:
            compared = 0
            assert duplicates.original(" ".join([*words, ending])) is None
            assert compared <= 256
        assert compared == 256


def test_many_short_texts_take_little_memory_and_are_all_found_again() -> None:
    texts = [f"Room {i} opens at 9." for i in range(20_000)]
    with Duplicates(DuplicateSettings()) as duplicates:
        assert [duplicates.original(text) for text in texts] == [None] * len(texts)
        assert [duplicates.original(text) for text in texts[::7]] == list(range(0, 20_000, 7))
        held = duplicates._seen._slots, duplicates._ends
        assert sum(array.itemsize * len(array) for array in held) <= 56 * len(texts)


def test_the_answer_is_the_same_in_every_process() -> None:
    program = (
        "from indexer.text.duplicates import sketch; from indexer.text.sketches import band_keys;"
        f"s = sketch({CLAUSE!r}); print(s.hex(), band_keys(s, 0.9))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        Duplicates(DuplicateSettings(), tmp_path / "missing")


def test_its_file_is_gone_from_the_folder_from_the_start(tmp_path: Path) -> None:
    with Duplicates(DuplicateSettings(), tmp_path) as duplicates:
        duplicates.original(CLAUSE)
        assert list(tmp_path.iterdir()) == []
