"""A snapshot as one file: a plain tar whose first member is the manifest, with all digests.

Taking one in trusts nothing: what the manifest does not list, what is no plain file, what has
another size or digest is refused, and the rest is read by a process of its own before it counts.
"""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import ValidationError

from indexer.errors import BadInput, StoreError
from indexer.settings import Paths, store_errors, sync_folder, write_atomically
from indexer.store.drafts import DRAFT
from indexer.store.leases import Lease
from indexer.store.manifest import (
    FILE_NAME,
    FORMAT,
    FileMark,
    SnapshotManifest,
    manifest_id,
    read_manifest,
)
from indexer.store.verify import verify_snapshot

_PIECE = 1 << 20
_LARGEST_MANIFEST = 64 * 1024 * 1024
_RESERVE = 64 * 1024 * 1024
_REMEDY = "Export it again where it comes from"


def export_snapshot(folder: Path, file: Path) -> None:
    """Write the snapshot to `file`, whole or not at all; the same snapshot gives the same bytes.

    StoreError: it is damaged, or there is no room. BadInput: the folder of `file` does not exist.
    """
    if not file.parent.is_dir():
        raise BadInput(f"The folder {file.parent} does not exist", "Create it, or choose another")
    lease = Lease(folder)
    try:
        _, manifest = read_manifest(folder)
        with store_errors(file):
            _write(folder, manifest, file)
    finally:
        lease.release()


def _write(folder: Path, manifest: SnapshotManifest, file: Path) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with open(handle, "wb") as out:
            os.fchmod(out.fileno(), 0o644)
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
                size = (folder / FILE_NAME).stat().st_size
                _add(tar, folder, FILE_NAME, size)
                for member, mark in sorted(manifest.files.items()):
                    if _add(tar, folder, member, mark.bytes) != mark.sha256:
                        raise StoreError(
                            f"{folder / member} is not what was written", "Index the domain again"
                        )
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
    sync_folder(file.parent)


def _add(tar: tarfile.TarFile, folder: Path, member: str, size: int) -> str:
    """Its digest; nothing of the machine goes in: no time, no owner."""
    info = tarfile.TarInfo(member)
    info.size, info.mode = size, 0o644
    with (folder / member).open("rb") as file:
        hashed = _Hashed(file)
        tar.addfile(info, hashed)
    return hashed.digest.hexdigest()


class _Hashed:
    """A file that remembers the digest of what was read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        return piece


def import_snapshot(paths: Paths, domain: str, file: Path) -> str:
    """Take an exported snapshot into the store; its id. Nothing is visible before it is verified.

    Only for whoever holds the domain's lock. BadInput: no such file, or it is not what it should
    be. StoreError: no room, or it cannot be searched.
    """
    if not file.is_file():
        raise BadInput(f"There is no file {file}", "Give one that `dslm snapshot export` wrote")
    home = paths.snapshots(domain)
    with store_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=home))
    try:
        snapshot_id = _unpack(file, domain, draft)
        verify_snapshot(draft)
        _publish(draft, paths.snapshot(domain, snapshot_id))
        return snapshot_id
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, target: Path) -> None:
    with store_errors(target):
        if target.exists():
            verify_snapshot(target)  # the same snapshot is there; nothing is put over it
            return
        draft.chmod(0o755)
        os.rename(draft, target)
        sync_folder(target.parent)


def _unpack(file: Path, domain: str, draft: Path) -> str:
    """Every file, the manifest last; the snapshot's id."""
    try:
        with (
            store_errors(file),
            file.open("rb") as source,
            tarfile.open(fileobj=source, mode="r:") as tar,
        ):
            members = _members(tar, file)
            written = _first(tar, next(members, None), file)
            left = dict(_manifest(written, file, domain).files)
            _check_room(draft, left)
            for member in members:
                mark = left.pop(member.name, None)
                if mark is None:
                    raise _refused(file, f"holds {member.name!r}, which its manifest does not list")
                _extract(tar, member, mark, draft, file)
            if left:
                raise _refused(file, f"lacks {min(left)!r}")
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise _refused(file, f"cannot be read ({error})") from error
    write_atomically(draft / FILE_NAME, written)
    return manifest_id(written)


def _members(tar: tarfile.TarFile, file: Path) -> Iterator[tarfile.TarInfo]:
    """Plain files only: no links, no folders, no devices, none that unpacks to more than it is."""
    for member in tar:
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not plain or not _is_inside(member.name):
            raise _refused(file, f"holds {member.name!r}, which is no plain file in a snapshot")
        yield member


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        str(path) == name
        and not path.is_absolute()
        and not any(part in ("..", ".") or "\\" in part or "\0" in part for part in path.parts)
    )


def _first(tar: tarfile.TarFile, member: tarfile.TarInfo | None, file: Path) -> bytes:
    """The manifest's bytes."""
    content = tar.extractfile(member) if member and member.name == FILE_NAME else None
    if member is None or content is None or member.size > _LARGEST_MANIFEST:
        raise _refused(file, f"does not begin with a {FILE_NAME}")
    with content:
        return content.read()


def _manifest(written: bytes, file: Path, domain: str) -> SnapshotManifest:
    stated = json.loads(written)
    found = stated.get("format") if isinstance(stated, dict) else None
    if found != FORMAT:
        raise _refused(file, f"has format {found}, this program reads {FORMAT}")
    try:
        manifest = SnapshotManifest.model_validate_json(written)
    except ValidationError as error:
        raise _refused(file, f"has a manifest that is none: {error.errors()[0]['msg']}") from error
    if manifest.domain != domain:
        raise BadInput(
            f"{file} holds a snapshot of {manifest.domain!r}, not of {domain!r}",
            f"Import it into {manifest.domain!r}",
        )
    if any(not _is_inside(name) or name == FILE_NAME for name in manifest.files):
        raise _refused(file, "has a manifest that names files outside a snapshot")
    return manifest


def _check_room(draft: Path, files: Mapping[str, FileMark]) -> None:
    wanted = sum(mark.bytes for mark in files.values())
    free = shutil.disk_usage(draft).free
    if wanted + _RESERVE > free:
        raise StoreError(
            f"The snapshot takes {wanted:,} bytes, and {draft.parent} has {free:,} free",
            "Free some disk space, for example by `dslm snapshot prune`",
        )


def _extract(
    tar: tarfile.TarFile, member: tarfile.TarInfo, mark: FileMark, draft: Path, file: Path
) -> None:
    source = tar.extractfile(member)
    if source is None or member.size != mark.bytes:
        raise _refused(file, f"holds {member.name!r} with {member.size} bytes, not {mark.bytes}")
    target = draft / member.name
    hashed = _Hashed(source)
    with store_errors(target), source:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while piece := hashed.read(_PIECE):
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        sync_folder(target.parent)
    if hashed.digest.hexdigest() != mark.sha256:
        raise _refused(file, f"holds {member.name!r} with another content than its manifest says")


def _refused(file: Path, reason: str) -> BadInput:
    return BadInput(f"{file} is no snapshot that can be imported: it {reason}", _REMEDY)
