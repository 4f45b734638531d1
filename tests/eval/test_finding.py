"""`dslm search` shows what a release would find, with its place, and takes a filter."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.lookup import Lookup
from adapters.pins import EmbedderPin
from adapters.release import Release
from eval import finding
from eval.finding import read_filter, show_found
from indexer.domain import EmbedderSettings, RetrievalSettings
from indexer.errors import BadInput
from indexer.records import Demonstration, Place
from indexer.search.retriever import Retriever
from indexer.settings import Paths
from indexer.store.snapshot import open_snapshot
from tests.indexer.hash_embedder import HashEmbedder
from tests.indexer.search.shelf import Shelf, document


def _release() -> Release:
    return Release(
        number=1,
        domain="home",
        snapshot="s",
        adapter=None,
        prompt_format="sentences",
        mode="generate",
        system="",
        refusal="No.",
        fallback="none",
        max_tokens=9,
        retrieval=RetrievalSettings(mode="hybrid"),
        embedder=EmbedderPin(settings=EmbedderSettings(name="hash"), fingerprint="hash/1"),
        base=None,
        parent=None,
        created=datetime.now(UTC),
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Two documents, one of them with pages and with a copy elsewhere, and an example."""
    shed = document("shed.pdf", ["The key hangs by the door."], {"team": "garden"}, pages=(0,))
    shelf = Shelf(
        [shed, document("house.md", ["A neighbour has the key."], {"team": "house"})],
        demonstrations=[Demonstration("d1", "Where is the key?", "By the door.")],
        copies=[(1, Place("house.md", 0, 24))],
    )

    folder = shelf.write(tmp_path / "snapshot")

    @contextmanager
    def opened(_paths: Paths, release: Release) -> Iterator[Lookup]:
        with closing(Retriever(open_snapshot(folder))) as retriever:
            yield Lookup(release, retriever, cast(Any, HashEmbedder()), None, None)

    monkeypatch.setattr(finding, "open_lookup", opened)
    return Paths(tmp_path)


def test_passages_show_score_place_page_and_copies(
    place: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    show_found(place, _release(), "Where is the key by the door?", None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "passages, hybrid (used from 0.25 up)"
    assert lines[1].endswith("  shed.pdf [0, 26), page 1, also in house.md")
    assert lines[2].strip() == "The key hangs by the door."
    assert lines[3].endswith("  house.md [0, 24)")
    assert lines[5] == "demonstrations (used from 0.35 up)"
    assert lines[6].endswith("  Where is the key?")


def test_a_filter_limits_what_is_shown(place: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    show_found(place, _release(), "Where is the key?", '{"team": "garden"}')
    shown = capsys.readouterr().out
    assert "shed.pdf" in shown
    assert "house.md" not in shown
    with pytest.raises(BadInput, match="Known fields: team"):
        show_found(place, _release(), "Where?", '{"teem": "garden"}')


@pytest.mark.parametrize(("given", "reason"), [("team=x", "is not JSON"), ("[1]", "is no object")])
def test_what_is_no_filter_is_named(given: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read_filter(given)
    assert read_filter(None) == {}
