"""What training rows are shown: what the service would find, but never what gives them away."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.lookup import Lookup
from adapters.pins import EmbedderPin
from adapters.prompt import parse_citations
from adapters.release import Release
from adapters.rows.likeness import SharedRuns
from adapters.training.rendering import Rendering, Row, passage, posed
from adapters.training.shots import Shots, ShotSettings, gives_away, renumbered
from indexer.domain import EmbedderSettings, RetrievalSettings
from indexer.records import Demonstration
from tests.indexer.hash_embedder import HashEmbedder
from tests.indexer.search.shelf import Shelf, document

RENDERING = Rendering("sentences", "", "Not said.", frozenset({2}))
FRUITS = "apple pear plum cherry quince medlar peach grape fig melon".split()
SOLVED = [
    Demonstration(f"d{n}", f"Where is the {fruit} kept in winter?", f"In room {n}.", f"g{n % 3}")
    for n, fruit in enumerate(FRUITS)
]


@contextmanager
def opened(folder: Path, **retrieval: Any) -> Iterator[Lookup]:
    lines = [f"The {fruit} is kept in room {n}." for n, fruit in enumerate(FRUITS)]
    shelf = Shelf([document(f"{n}.md", [line]) for n, line in enumerate(lines)], SOLVED)
    release = Release(
        domain="kitchen",
        number=1,
        snapshot="s",
        embedder=EmbedderPin(settings=EmbedderSettings(), fingerprint="hash/1"),
        adapter=None,
        prompt_format="sentences",
        retrieval=RetrievalSettings(min_demonstration_score=-1, min_passage_score=-1, **retrieval),
        mode="generate",
        system="",
        refusal="Not said.",
        fallback="none",
        max_tokens=64,
        base=None,
        parent=None,
        created=datetime.now(UTC),
    )
    with shelf.open(folder) as retriever:
        yield Lookup(release, retriever, cast(Any, HashEmbedder()), None, None)


def row(question: str, answer: str = "In room 1.", **more: Any) -> Row:
    return Row("r:1", ({"role": "user", "content": question},), answer, **more)


def pose(folder: Path, rows: list[Row], **settings: Any) -> list[Row]:
    with opened(folder) as lookup:
        return list(Shots(lookup, RENDERING, ShotSettings(**settings)).pose(rows))


def test_no_row_sees_itself_its_group_or_what_asks_nearly_the_same(tmp_path: Path) -> None:
    rows = [row(one.question, one.answer, id=one.id, group=one.group) for one in SOLVED]
    rows += [row(one.question.upper() + "!") for one in SOLVED]
    for shown in pose(tmp_path / "s", rows, demonstrations=8):
        asked = shown.messages[-1]["content"]
        for one in shown.demonstrations:
            assert one.id != shown.id
            assert not shown.group or one.group != shown.group
            assert one.question.casefold().strip("!") != asked.casefold().strip("!")


def test_demonstrations_are_the_services_own_the_most_similar_last(tmp_path: Path) -> None:
    (shown,) = pose(tmp_path / "s", [row("Who keeps the plum and why?")], demonstrations=4, seed=2)
    with opened(tmp_path / "t") as lookup:
        vector = lookup.ask(["Who keeps the plum and why?"])[0].similar
        assert vector is not None
        served = lookup.retriever.demonstrations(vector, 4, -1)
    assert shown.demonstrations
    assert list(shown.demonstrations) == served[-len(shown.demonstrations) :]


def test_the_number_of_demonstrations_varies_down_to_none(tmp_path: Path) -> None:
    rows = [row(f"Question number {n} about the cellar?") for n in range(60)]
    counts = {len(one.demonstrations) for one in pose(tmp_path / "s", rows, demonstrations=3)}
    assert counts == {0, 1, 2, 3}


def test_a_rows_own_passages_stand_among_others_and_its_citations_move_along(
    tmp_path: Path,
) -> None:
    own = passage("r", 0, ["The plum is dried.", "The plum is kept in jars."])
    rows = [
        row(f"Where is the plum kept, {n}?", "[2] The plum is kept in jars.", passages=(own,))
        for n in range(20)
    ]
    places = set()
    for shown in pose(tmp_path / "s", rows, passages=3, absent=0.0):
        sources = {one.id: one.quote for one in posed(shown, RENDERING).sources}
        (number,) = {number for number, _, _ in parse_citations(shown.answer)}
        assert sources[number] == "The plum is kept in jars."
        assert shown.answer.endswith("] The plum is kept in jars.")
        assert len(shown.passages) == 4
        places.add(number)
    assert len(places) > 1, "the right passage always stands in the same place"


def test_a_share_of_rows_is_shown_others_only_and_refuses(tmp_path: Path) -> None:
    own = passage("r", 0, ["The plum is kept in jars."])
    rows = [
        row(f"Where is plum {n}?", "[1] The plum is kept in jars.", passages=(own,))
        for n in range(80)
    ]
    shown = pose(tmp_path / "s", rows, passages=2, absent=0.5)
    refused = [one for one in shown if one.answer == "Not said."]
    assert 25 <= len(refused) <= 55
    assert all(own not in one.passages for one in refused)
    assert all(own in one.passages for one in shown if one not in refused)


def test_the_same_seed_shows_the_same(tmp_path: Path) -> None:
    rows = [row(f"Where is the plum kept, {n}?") for n in range(9)]
    first, again, other = (
        pose(tmp_path / f"s{n}", rows, demonstrations=4, passages=2, seed=seed)
        for n, seed in enumerate((1, 1, 2))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("question", "given_away"),
    [
        ("where is the APPLE kept in winter", True),
        ("Where is the apple kept in the winter?", True),
        ("Where is the melon kept in summer, and by whom?", False),
    ],
)
def test_what_asks_nearly_the_same_gives_away(question: str, given_away: bool) -> None:
    assert gives_away(SOLVED[0], row(question), 0.7, SharedRuns([])) is given_away


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(1, 3), max_size=3),
    st.data(),
)
def test_citations_name_the_same_sentences_wherever_passages_are_put(
    own: list[int], others: list[int], data: Any
) -> None:
    mine = [passage("own", n, [f"Own {n} {k}." for k in range(size)]) for n, size in enumerate(own)]
    more = [
        passage("o", n, [f"Other {n} {k}." for k in range(size)]) for n, size in enumerate(others)
    ]
    total = sum(own)
    cited = data.draw(st.lists(st.integers(1, total), min_size=1, max_size=4))
    answer = (
        "So. " + " ".join(f"[{number}]" for number in cited) + f" and [{cited[0]}, {cited[-1]}]."
    )
    before = row("Why?", answer, passages=tuple(mine))
    mixed = data.draw(st.permutations([*mine, *more]))
    after = renumbered(before, row("Why?", answer, passages=tuple(mixed)), RENDERING)

    def quotes(one: Row) -> list[str]:
        sources = {source.id: source.quote for source in posed(one, RENDERING).sources}
        return [sources[number] for number, _, _ in parse_citations(one.answer)]

    assert quotes(after) == quotes(before)
