"""What an answer cites supports what it says, or not: claim by claim, as ALCE counts."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scoring.grounding import Claim, Marker, Pair, by_words, claims, ground

KETTLE = "The kettle holds 1.7 litres and boils in three minutes."
SCALE = "Descale the kettle every month with citric acid."


def marked(text: str, **quotes: str) -> tuple[str, list[Marker]]:
    """A text with its `[n]`, each leading to the quote of that number."""
    found = []
    for number, quote in quotes.items():
        mark = f"[{number.removeprefix('n')}]"
        at = -1
        while (at := text.find(mark, at + 1)) >= 0:
            found.append(Marker(at, at + len(mark), quote))
    return text, found


def told(text: str, **quotes: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.text, one.quotes) for one in claims(*marked(text, **quotes))]


def test_markers_before_a_sentence_are_its_own() -> None:
    text = "[1] It holds 1.7 litres. [2] Descale it monthly. That is all."
    assert told(text, n1=KETTLE, n2=SCALE) == [
        ("It holds 1.7 litres.", (KETTLE,)),
        ("Descale it monthly.", (SCALE,)),
        ("That is all.", ()),
    ]


def test_markers_behind_a_sentence_are_its_own() -> None:
    text = "It holds 1.7 litres [1]. Descale it monthly. [2][1]\nThat is all."
    assert told(text, n1=KETTLE, n2=SCALE) == [
        ("It holds 1.7 litres .", (KETTLE,)),
        ("Descale it monthly.", (SCALE, KETTLE)),
        ("That is all.", ()),
    ]


def test_an_answer_without_words_claims_nothing() -> None:
    assert claims("", []) == []
    assert told("[1] ...", n1=KETTLE) == []


@given(st.text("ab .[]1\n", max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_every_marker_within_a_text_is_dealt_with(text: str, places: list[int]) -> None:
    markers = [Marker(at, min(at + 3, len(text)), str(at)) for at in places if at <= len(text)]
    for claim in claims(text, markers):
        assert claim.text.strip() == claim.text
        assert len(set(claim.quotes)) == len(claim.quotes)


@pytest.mark.parametrize(
    ("claim", "supported"),
    [
        ("The kettle boils in three minutes.", True),
        ("Three minutes is what boiling takes the kettle.", False),
        ("It boils within three minutes, the kettle.", True),
        ("It holds 1.7 litres.", True),
        ("It holds 1.8 litres.", False),
        ("The kettle does not boil in three minutes.", False),
        ("The toaster browns bread.", False),
    ],
)
def test_words_support_what_says_nearly_the_same(claim: str, supported: bool) -> None:
    assert by_words([(KETTLE, claim)]) == [supported]


def holds(pairs: Sequence[Pair]) -> list[bool | None]:
    """Letters are facts: a claim is supported by texts that hold all of its letters; `?`: fails."""
    return [None if "?" in claim else set(claim) <= set(premise) for premise, claim in pairs]


def test_recall_and_precision_are_those_of_alce() -> None:
    answers = [
        [
            Claim("ab", ("a", "b")),  # both are needed: both right
            Claim("c", ("c", "d")),  # the second is not: one right
            Claim("e", ("f",)),  # not supported: none right
            Claim("g", ()),  # without any
        ],
        [Claim("x", ("xyz",))],
    ]
    found = ground(answers, holds)
    assert (found.recall.hits, found.recall.total) == (3, 5)
    assert (found.precision.hits, found.precision.total) == (4, 6)
    assert (found.cited.hits, found.cited.total) == (4, 5)
    assert (found.grounded.hits, found.grounded.total) == (1, 2)
    assert found.failed == 0


def test_of_three_citations_one_that_is_not_needed_is_wrong() -> None:
    found = ground([[Claim("abc", ("a", "bc", "z"))]], holds)
    assert (found.precision.hits, found.precision.total) == (2, 3)


def test_a_verdict_that_failed_is_counted_and_stands_in_no_share() -> None:
    found = ground([[Claim("a?", ("a",)), Claim("b", ("b",))]], holds)
    assert (found.failed, found.recall.total, found.precision.total) == (1, 1, 1)
    assert found.grounded.total == 0


def test_nothing_said_is_nothing_judged() -> None:
    found = ground([], holds)
    assert (found.recall.total, found.failed) == (0, 0)
