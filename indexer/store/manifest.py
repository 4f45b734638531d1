"""What a snapshot says about itself: counts, the embedding, and the digest of each file."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from indexer.errors import StoreError
from indexer.index.marks import IndexMark
from indexer.settings import store_errors

FILE_NAME = "manifest.json"
FORMAT = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Probe(_Frozen):
    """A text and what the embedder made of it: whoever opens the snapshot can try the same."""

    text: str
    vector: tuple[float, ...]


class EmbedderMark(_Frozen):
    """How the vectors were made; questions must come from an embedder with the same `space`."""

    name: str
    dtype: str
    fingerprint: str
    space: str
    dimension: int
    revision: str = ""
    pooling: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""
    max_tokens: int = 0
    libraries: dict[str, str] = {}
    probes: tuple[Probe, ...] = ()


class FileMark(_Frozen):
    sha256: str
    bytes: int


FLAT = IndexMark(kind="flat", parameters={}, recall=None)


class SnapshotManifest(_Frozen):
    """Holds nothing that differs between two runs over the same input: no time, no machine.

    `copies` counts the chunks that were alike and have no row; `demonstration_embedder` is None
    where it is the passages'. `files` has names relative to the snapshot's folder.
    """

    format: int
    domain: str
    documents: int
    chunks: int
    copies: int = 0
    sentences: int
    demonstrations: int
    embedder: EmbedderMark
    demonstration_embedder: EmbedderMark | None = None
    passages_index: IndexMark = FLAT
    demonstrations_index: IndexMark = FLAT
    files: dict[str, FileMark]

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=1).encode() + b"\n"

    def for_demonstrations(self) -> EmbedderMark:
        return self.demonstration_embedder or self.embedder


def manifest_id(content: bytes) -> str:
    """A snapshot's id: the digest of its manifest, and so of every file in it."""
    return hashlib.sha256(content).hexdigest()[:16]


def mark_file(path: Path) -> FileMark:
    with store_errors(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileMark(sha256=digest, bytes=path.stat().st_size)


def read_manifest(folder: Path) -> tuple[str, SnapshotManifest]:
    """The snapshot's id and manifest; StoreError when it is missing or of another format."""
    path = folder / FILE_NAME
    with store_errors(path):
        content = path.read_bytes()
    try:
        manifest = SnapshotManifest.model_validate_json(content)
    except ValidationError as error:
        raise StoreError(
            f"{path} is not a snapshot's manifest: {error.errors()[0]['msg']}",
            "Index the domain again",
        ) from error
    if manifest.format != FORMAT:
        raise StoreError(
            f"The snapshot {folder} has format {manifest.format}, this program reads {FORMAT}",
            "Index the domain again",
        )
    return manifest_id(content), manifest


def check_files(folder: Path) -> tuple[str, SnapshotManifest]:
    """As `read_manifest`; StoreError too when a file is missing or of another size.

    Opens no file and loads no library: cheap enough to ask at every start of a job.
    """
    snapshot_id, manifest = read_manifest(folder)
    for name, mark in manifest.files.items():
        with store_errors(folder / name):
            size = (folder / name).stat().st_size
        if size != mark.bytes:
            raise StoreError(
                f"{folder / name} has {size} bytes instead of {mark.bytes}",
                "Index the domain again",
            )
    return snapshot_id, manifest
