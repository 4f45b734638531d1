"""What a snapshot says about itself: counts, the embedding, and the digest of each file."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from indexer.errors import StoreError
from indexer.settings import store_errors

FILE_NAME = "manifest.json"
FORMAT = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EmbedderMark(_Frozen):
    """How the vectors were made; questions must come from an embedder with the same `space`."""

    name: str
    dtype: str
    fingerprint: str
    space: str
    dimension: int


class FileMark(_Frozen):
    sha256: str
    bytes: int


class SnapshotManifest(_Frozen):
    """Holds nothing that differs between two runs over the same input: no time, no machine."""

    format: int
    domain: str
    documents: int
    chunks: int
    sentences: int
    demonstrations: int
    embedder: EmbedderMark
    files: dict[str, FileMark]

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"


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
