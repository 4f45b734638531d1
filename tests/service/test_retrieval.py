"""A question is looked up as its release says, within the documents that it asks for."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from adapters.pins import EmbedderPin
from adapters.release import Release
from indexer.domain import EmbedderSettings, RetrievalSettings
from indexer.records import Demonstration, Vectors
from indexer.search.retriever import Retriever
from indexer.store.snapshot import open_snapshot
from service.answer.embedding import Embedders, QuestionEmbedder
from service.answer.releases import OpenRelease
from service.answer.request import Switches
from service.answer.retrieval import NOTHING, Retrieval
from service.errors import InvalidRequest, Unavailable
from tests.indexer.hash_embedder import HashEmbedder
from tests.indexer.search.shelf import Shelf, document

ASKED = "Where is the key of the shed?"
MINE, THEIRS = EmbedderSettings(name="hash"), EmbedderSettings(name="another")


class Loaded(Embedders):
    """Hands out embedders that need no model; counts how often each text was embedded."""

    def __init__(self, **changes: Any) -> None:
        self.made: dict[EmbedderSettings, HashEmbedder] = {}
        self._changes = changes

    async def get(self, settings: EmbedderSettings) -> QuestionEmbedder:
        if settings not in self.made:
            self.made[settings] = HashEmbedder()
            for name, value in self._changes.items():
                setattr(self.made[settings], name, value)
        return QuestionEmbedder(cast(Any, self.made[settings]))


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    shelf = Shelf(
        [
            document("shed.md", ["The key of the shed hangs by the door."], {"team": "garden"}),
            document("house.md", ["The key of the house is with a neighbour."], {"team": "house"}),
        ],
        demonstrations=[Demonstration("d1", ASKED, "By the door.")],
    )
    with closing(Retriever(open_snapshot(shelf.write(tmp_path / "snapshot")))) as opened:
        yield opened


def _opened(retriever: Retriever, other: EmbedderPin | None = None, **how: Any) -> OpenRelease:
    release = Release(
        number=1,
        domain="home",
        snapshot=retriever.snapshot.id,
        adapter=None,
        prompt_format="sentences",
        mode="generate",
        system="",
        refusal="No.",
        fallback="none",
        max_tokens=9,
        retrieval=RetrievalSettings(min_passage_score=-1.0, **how),
        embedder=EmbedderPin(settings=MINE, fingerprint="hash/1"),
        demonstration_embedder=other,
        base=None,
        parent=None,
        created=datetime.now(UTC),
    )
    return OpenRelease(release, retriever, None, None, None)  # type: ignore[arg-type]


def _documents(found: Any) -> list[str]:
    return [passage.document for passage in found.passages]


async def test_passages_and_demonstrations_come_with_why(retriever: Retriever) -> None:
    opened = _opened(retriever, mode="hybrid", fusion="minmax")
    found = await Retrieval(Loaded()).find(ASKED, opened, Switches())
    assert _documents(found) == ["shed.md", "house.md"]
    assert [one.id for one in found.demonstrations] == ["d1"]
    told = found.explain()
    assert (told["mode"], told["fusion"]) == ("hybrid", "minmax")
    assert told["hits"][0]["lexical"] > told["hits"][1]["lexical"] > 0
    assert told["hits"][0]["cosine"] == round(found.passages[0].score, 4)
    assert NOTHING.explain() == {}


async def test_what_is_switched_off_is_not_looked_up(retriever: Retriever) -> None:
    look = Retrieval(Loaded())
    found = await look.find(ASKED, _opened(retriever), Switches(passages=False))
    assert (found.passages, len(found.demonstrations)) == ((), 1)
    found = await look.find(ASKED, _opened(retriever), Switches(demonstrations=False))
    assert (len(found.passages), found.demonstrations) == (2, ())
    off = Switches(passages=False, demonstrations=False)
    assert await look.find(ASKED, _opened(retriever), off) is NOTHING


async def test_a_filter_limits_the_documents_and_nothing_else(retriever: Retriever) -> None:
    wanted = Switches(filter={"team": "house"})
    found = await Retrieval(Loaded()).find(ASKED, _opened(retriever), wanted)
    assert _documents(found) == ["house.md"]
    assert len(found.demonstrations) == 1


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [({"teem": "house"}, "Known fields: team"), ({"team": {"near": 1}}, "'near'")],
)
async def test_a_wrong_filter_is_the_callers_mistake(
    retriever: Retriever, wanted: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        await Retrieval(Loaded()).find(ASKED, _opened(retriever), Switches(filter=wanted))
    assert caught.value.param == "dslm.filter"
    assert caught.value.status == 400


def test_a_filter_of_passages_that_are_switched_off_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="switched off"):
        Switches(passages=False, filter={"team": "house"})


async def test_demonstrations_of_another_model_get_a_vector_of_their_own(
    retriever: Retriever,
) -> None:
    loaded = Loaded()
    other = EmbedderPin(settings=THEIRS, fingerprint="hash/1")
    found = await Retrieval(loaded).find(ASKED, _opened(retriever, other), Switches())
    assert (len(found.passages), len(found.demonstrations)) == (2, 1)
    assert {settings.name for settings in loaded.made} == {"hash", "another"}


async def test_an_embedder_that_embeds_otherwise_is_refused_with_what_differs(
    retriever: Retriever,
) -> None:
    look = Retrieval(Loaded(space="other-space", pooling="cls"))
    with pytest.raises(Unavailable, match=r"pooling was '', is 'cls'.*dslm index home"):
        await look.find(ASKED, _opened(retriever), Switches())


async def test_a_cross_encoder_is_loaded_once_and_orders_the_passages(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(name: str) -> Any:
        loaded.append(name)

        def score(_question: str, texts: list[str]) -> Vectors:
            return np.array(["house" in text for text in texts], dtype=np.float32)

        return score

    monkeypatch.setattr("service.answer.rerankers.load_scorer", load)
    look = Retrieval(Loaded())
    for _ in range(2):
        found = await look.find(ASKED, _opened(retriever, rerank="tiny"), Switches())
        assert _documents(found) == ["house.md", "shed.md"]
    assert loaded == ["tiny"]


async def test_a_cross_encoder_that_is_missing_makes_the_domain_unavailable(
    retriever: Retriever, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="cannot be loaded"):
        await Retrieval(Loaded()).find(ASKED, _opened(retriever, rerank=str(tmp_path)), Switches())
