"""Solved examples: the most similar last, none twice, and none that answers itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import StoreError
from indexer.records import Demonstration
from indexer.search.retriever import Retriever
from tests.indexer.search.shelf import Shelf, document, vector

SIZE = Demonstration("size", "How big is the kettle?", "1.7 litres", "g1")
AGAIN = Demonstration("again", "How big is  the Kettle?", "1.7 litres!")
JOINED = Demonstration("joined", "How wide is the kettle?", "17 cm", "g1")
LOUD = Demonstration("loud", "Is it loud?", "No.")


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    shelf = Shelf([document("a.md", ["x"])], demonstrations=[SIZE, AGAIN, JOINED, LOUD])
    with shelf.open(tmp_path / "snapshot") as opened:
        yield opened


def _ids(retriever: Retriever, k: int, **options: object) -> list[str]:
    found = retriever.demonstrations(vector("How big is the kettle?"), k, **options)  # type: ignore[arg-type]
    assert [d.score for d in found] == sorted(d.score for d in found)
    return [d.id for d in found]


def test_the_most_similar_comes_last_and_its_double_not_at_all(retriever: Retriever) -> None:
    assert _ids(retriever, 5) in (["loud", "joined", "again"], ["loud", "joined", "size"])
    assert _ids(retriever, 1)[0] in ("again", "size")
    assert _ids(retriever, 0) == []


def test_nothing_below_the_least_cosine(retriever: Retriever) -> None:
    assert len(_ids(retriever, 5, min_score=0.95)) == 1
    assert _ids(retriever, 5, min_score=1.1) == []


def test_the_excluded_leave_with_their_group_and_their_question(retriever: Retriever) -> None:
    assert _ids(retriever, 5, exclude={"size"}) == ["loud"]
    assert _ids(retriever, 5, exclude={"loud"})[:-1] == ["joined"]
    assert _ids(retriever, 5, exclude={"size", "loud"}) == []


def test_many_doubles_do_not_hide_what_comes_after_them(tmp_path: Path) -> None:
    doubles = [Demonstration(f"d{n}", "How big is the kettle?", str(n)) for n in range(150)]
    shelf = Shelf([document("a.md", ["x"])], demonstrations=[*doubles, LOUD])
    with shelf.open(tmp_path / "snapshot") as opened:
        found = _ids(opened, 2)
        assert (len(found), found[0]) == (2, "loud")


def test_a_vector_of_another_embedder_is_a_store_error(retriever: Retriever) -> None:
    with pytest.raises(StoreError, match="index of 32"):
        retriever.demonstrations(np.ones(384, dtype=np.float32), 1)
