"""Labels are read where they are said, never guessed, and scored as libraries score them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scoring.labels import LabelReader, classify

LABELS = ["card_arrival", "Lost card", "Imperial Stout"]
READER = LabelReader(LABELS, {"stout, imperial": "Imperial Stout"})


@pytest.mark.parametrize(
    ("answer", "label", "rule"),
    [
        ("card_arrival", "card_arrival", "exact"),
        (" card_arrival\n\nBecause it came late.", "card_arrival", "exact"),
        ("Card arrival.", "card_arrival", "name"),
        ('"lost card"', "Lost card", "name"),
        ("**Lost card**", "Lost card", "name"),
        ("Label: lost-card", "Lost card", "said"),
        ("The intent is card arrival.", "card_arrival", "said"),
        ("Stout, Imperial", "Imperial Stout", "alias"),
        ("Lost card, because it is gone.", "Lost card", "first"),
        ("Lost card. It is gone.", "Lost card", "first"),
        ("The label is: lost card (it is gone)", "Lost card", "first"),
    ],
)
def test_a_label_is_read_however_it_is_dressed(answer: str, label: str, rule: str) -> None:
    found = READER.read(answer)
    assert found is not None
    assert (found.label, found.rule) == (label, rule)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Stout",
        "card_arrival or lost card",
        "It is not a lost card",
        "Lost card, or card arrival",
        "Lost card. Perhaps card arrival.",
        "A lost card. It is gone.",
        "I cannot tell.\nLost card",
    ],
)
def test_what_is_no_label_is_not_guessed(answer: str) -> None:
    assert READER.read(answer) is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", "d", None])),
        min_size=1,
        max_size=40,
    )
)
def test_scores_follow_their_definitions(rows: list[tuple[str, str | None]]) -> None:
    expected, found = [a for a, _ in rows], [b for _, b in rows]
    scores = classify(expected, found)
    for label, one in scores.classes.items():
        hits = sum(a == b == label for a, b in rows)
        said = sum(b == label for _, b in rows)
        due = expected.count(label)
        assert one.precision == pytest.approx(hits / said if said else 0)
        assert one.recall == pytest.approx(hits / due)
    assert scores.averages["micro"].recall == pytest.approx(scores.accuracy)
    assert scores.averages["macro"].f1 == pytest.approx(
        sum(one.f1 for one in scores.classes.values()) / len(scores.classes)
    )
    assert scores.invalid == pytest.approx(found.count(None) / len(found))
    assert sum(count for _, _, count in scores.confused) == sum(a != b for a, b in rows)
