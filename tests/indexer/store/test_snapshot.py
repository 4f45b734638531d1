"""A snapshot is the same for the same input, whole or not there, and notices any damage."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexer.domain import ChunkingSettings
from indexer.errors import StoreError
from indexer.index.lexical import FILES as LEXICAL_FILES
from indexer.index.vectors import MatrixSource
from indexer.reading.layout import Line, to_document
from indexer.records import Demonstration, Fields, Place, Sentence
from indexer.settings import Paths
from indexer.store.draft import SnapshotContent
from indexer.store.manifest import EmbedderMark
from indexer.store.snapshot import check_snapshot, open_snapshot, verify_snapshot, write_snapshot
from indexer.store.tables import chunk_row, document_row, read_chunk, read_document
from indexer.text.chunking import split
from tests.indexer.conftest import ROOT
from tests.indexer.hash_embedder import HashEmbedder


def _content(text: str = "The kettle boils. It is hot.") -> SnapshotContent:
    embedder = HashEmbedder()
    documents = [
        to_document(f"{name}.md", f"About {name}", [Line("paragraph", 0, text)], "0" * 64)
        for name in ("a", "b")
    ]
    settings = ChunkingSettings(tokens=8)
    chunks = [c for d in documents for c in split(d, settings, embedder.count_tokens)]
    examples = [Demonstration("x", "How hot?", "Very."), Demonstration("y", "Why?", "So.")]
    return SnapshotContent(
        "kitchen",
        [document_row(document) for document in documents],
        [chunk_row(chunk) for chunk in chunks],
        examples,
        MatrixSource(embedder.embed_passages([f"{text} {chunk.id}" for chunk in chunks])),
        MatrixSource(embedder.embed_symmetric([example.question for example in examples])),
        EmbedderMark(name="hash", dtype="fp32", fingerprint="f", space="s", dimension=32),
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def written(paths: Paths) -> Path:
    return paths.snapshot("kitchen", write_snapshot(paths, _content()))


def test_the_same_input_gives_the_same_bytes_and_id(written: Path, tmp_path: Path) -> None:
    other = Paths(tmp_path / "other")
    again = other.snapshot("kitchen", write_snapshot(other, _content()))
    assert again.name == written.name
    assert _files(again) == _files(written)
    assert set(_files(written)) == {
        "manifest.json",
        "records.db",
        "passages.faiss",
        "demonstrations.faiss",
        *(f"bm25/{name}" for name in LEXICAL_FILES),
    }


def test_another_process_writes_the_same_bytes(written: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from indexer.settings import Paths;"
        "from tests.indexer.store.test_snapshot import _content, write_snapshot;"
        "print(write_snapshot(Paths(Path(sys.argv[1])), _content()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == written.name


def test_other_input_gives_another_id(written: Path, paths: Paths) -> None:
    assert write_snapshot(paths, _content("The kettle is cold. It is off.")) != written.name
    assert written.exists()


def test_writing_again_keeps_what_is_published(written: Path, paths: Paths) -> None:
    before = os.stat(written / "records.db").st_ino
    assert write_snapshot(paths, _content()) == written.name
    assert os.stat(written / "records.db").st_ino == before
    assert os.listdir(written.parent) == [written.name]


def test_an_opened_snapshot_gives_its_documents(written: Path) -> None:
    snapshot = open_snapshot(written)
    document = snapshot.document("a.md")
    assert document == read_document(next(iter(_content().documents)))
    assert snapshot.document("c.md") is None
    assert snapshot.document_paths() == ["a.md", "b.md"]
    assert (snapshot.id, snapshot.manifest.sentences) == (written.name, 4)
    snapshot.close()
    snapshot.close()
    with pytest.raises(StoreError):
        snapshot.document("a.md")


@pytest.mark.parametrize("name", ["records.db", "passages.faiss", "demonstrations.faiss"])
def test_one_changed_byte_is_noticed(written: Path, name: str) -> None:
    content = bytearray((written / name).read_bytes())
    content[len(content) // 2] ^= 1
    (written / name).write_bytes(content)
    with pytest.raises(StoreError, match=rf"{name}.*not what was written"):
        verify_snapshot(written)


@pytest.mark.parametrize("name", ["records.db", "passages.faiss", "manifest.json"])
def test_a_file_that_is_cut_short_or_gone_is_noticed_on_opening(written: Path, name: str) -> None:
    content = (written / name).read_bytes()
    (written / name).write_bytes(content[:-50])
    with pytest.raises(StoreError, match=name):
        open_snapshot(written)
    (written / name).unlink()
    with pytest.raises(StoreError, match=name):
        open_snapshot(written)


def test_a_damaged_snapshot_is_replaced_by_the_next_write(written: Path, paths: Paths) -> None:
    whole = _files(written)
    (written / "passages.faiss").write_bytes(b"damage")
    write_snapshot(paths, _content())
    assert _files(written) == whole


def test_a_snapshot_of_another_format_is_refused(written: Path) -> None:
    manifest = written / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"format": 2', '"format": 7'), encoding="utf-8")
    with pytest.raises(StoreError, match="format 7"):
        open_snapshot(written)


def test_what_fails_verification_is_not_published(paths: Paths) -> None:
    content = _content()
    first, *rest = content.chunks
    torn = dataclasses.replace(read_chunk(first), sentences=(Sentence(0, 10_000),))
    broken = dataclasses.replace(content, chunks=[chunk_row(torn), *rest])
    with pytest.raises(StoreError, match="sentences that are not in its texts"):
        write_snapshot(paths, broken)
    assert os.listdir(paths.snapshots("kitchen")) == []


def test_verifying_by_command_says_what_is_wrong_and_how_bad(written: Path) -> None:
    command = [sys.executable, "-m", "indexer.store.verify", str(written)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    (written / "records.db").unlink()
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 3
    assert "records.db" in child.stderr
    assert "Traceback" not in child.stderr


def test_an_index_that_kills_its_reader_is_a_store_error(
    written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="utf-8")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(StoreError, match="signal 11"):
        verify_snapshot(written)


def test_a_snapshot_without_demonstrations_is_whole(paths: Paths) -> None:
    content = dataclasses.replace(
        _content(),
        demonstrations=[],
        demonstration_vectors=MatrixSource(np.empty((0, 32), dtype=np.float32)),
    )
    check_snapshot(paths.snapshot("kitchen", write_snapshot(paths, content)))


def test_copies_and_fields_can_be_looked_up(paths: Paths) -> None:
    content = _content()
    fields: Fields = {"year": 2024, "team": "ops", "public": True}
    plain = map(read_document, content.documents)
    documents = [document_row(dataclasses.replace(one, fields=fields)) for one in plain]
    copy = (1, Place("c.md", 3, 9))
    content = dataclasses.replace(content, documents=documents, copies=[copy])
    snapshot = open_snapshot(paths.snapshot("kitchen", write_snapshot(paths, content)))
    assert snapshot.manifest.copies == 1
    assert snapshot.read("SELECT * FROM copies") == [(1, "c.md", 3, 9)]
    assert snapshot.read("SELECT * FROM fields WHERE document = 'a.md' ORDER BY name") == [
        ("a.md", "public", "true", 1.0),
        ("a.md", "team", "ops", None),
        ("a.md", "year", "2024", 2024.0),
    ]
    snapshot.close()


def test_a_step_that_raises_publishes_nothing(paths: Paths) -> None:
    def stop(phase: str, _done: int, _total: int) -> None:
        if phase == "verify":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write_snapshot(paths, _content(), stop)
    assert os.listdir(paths.snapshots("kitchen")) == []
