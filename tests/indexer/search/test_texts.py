"""Parts of a text are found by characters, however long it is and however it is encoded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.search import texts as module
from indexer.search.texts import Texts
from indexer.store.snapshot import Snapshot, open_snapshot
from tests.indexer.search.shelf import Shelf, document

LONG = "".join(f"Line {n} é 中 𝄞 of a long text.\n" for n in range(4000)).strip()


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    shelf = Shelf([document("long.md", LONG.split("\n")), document("short.md", ["é 中 short"])])
    opened = open_snapshot(shelf.write(tmp_path / "snapshot"))
    yield opened
    opened.close()


SPANS = [(0, 0), (0, 10), (4095, 4097), (4096, 8192), (50_000, 90_001), (0, len(LONG))]


def test_parts_are_those_of_the_text(snapshot: Snapshot) -> None:
    read = Texts(snapshot)
    [(long,), (short,)] = snapshot.read("SELECT rowid FROM documents ORDER BY path")
    for _ in range(2):  # the second time from the table of marks
        assert read.read(long, SPANS) == [LONG[start:end] for start, end in SPANS]
    assert read.read(short, [(2, 3), (0, 99)]) == ["中", "é 中 short"]


def test_only_so_many_documents_are_remembered(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHORT", 0)
    monkeypatch.setattr(module, "_REMEMBERED", 1)
    read = Texts(snapshot)
    for number in (1, 2, 1):
        assert read.read(number, [(0, 1)])
        assert list(read._marks) == [number]


class Blob:
    """A text in memory, read as SQLite's are."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def __len__(self) -> int:
        return len(self._content)

    def seek(self, at: int) -> None:
        self._at = at

    def read(self, length: int) -> bytes:
        part = self._content[self._at : self._at + length]
        self._at += length
        return part


@given(st.text("aé中𝄞\n", max_size=40), st.data())
def test_any_part_of_any_text(text: str, chosen: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STEP", 3)
        patch.setattr(module, "_BLOCK", 5)
        blob = cast(Any, Blob(text.encode()))
        marks = module._mark(blob)
        start = chosen.draw(st.integers(0, len(text)))
        end = chosen.draw(st.integers(start, len(text)))
        assert module._cut(blob, marks, start, end) == text[start:end]
