"""A backup back to a store: all of it is checked beside the store before any of it is put in.

Everything is unpacked below `.restoring` in the store. Once it is whole a plan is written there,
and what is left are renames that may be cut short anywhere: the next restore goes on with them.
Until they have ended no command and no service touches the store (`adapters.versioning`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import ValidationError

from adapters.backup.contents import is_wanted
from adapters.backup.record import FIRST, FORMAT, INNER, LAST, Mark, Opening, Record
from adapters.locking import exclusive
from adapters.manifest import Pinned, read_pinned, to_json
from adapters.versioning import FILE_NAME as VERSION
from adapters.versioning import FORMAT as STORE_FORMAT
from adapters.versioning import RESTORING, mark_store
from indexer.errors import BadInput, StoreError
from indexer.settings import Paths, store_errors, sync_folder, write_atomically

Tell = Callable[[int], None]
PLAN: Final = "plan.json"
NEW: Final = "new"
LOCK: Final = ".restore.lock"
_PIECE: Final = 1 << 20
_RESERVE: Final = 64 * 1024 * 1024
_LARGEST_RECORD: Final = 1 << 30
_REMEDY: Final = "Use another backup"


class Plan(Pinned):
    """The renames that are left: `old` names into the folder `aside`, then `new` ones in."""

    aside: str
    old: tuple[str, ...]
    new: tuple[str, ...]


def unfinished(paths: Paths) -> bool:
    """Has a restore been cut short after everything had been checked?"""
    return (paths.root / RESTORING / PLAN).exists()


def restore(paths: Paths, file: Path, tell: Tell, *, replace: bool = False) -> Record:
    """BadInput: the archive is none or not whole, or there is a store. StoreError: no room.

    With `replace` the store that is there is moved aside, into a folder of its own root.
    """
    if not file.is_file():
        raise BadInput(f"There is no file {file}", "Give one that `dslm backup` wrote")
    root = paths.root
    with _alone(root):
        if unfinished(paths):
            raise BadInput(f"An earlier restore into {root} has to end first", "Finish it")
        there = _entries(root)
        if there and not replace:
            raise BadInput(
                f"{root} holds a store: {', '.join(there[:3])}",
                "Give --replace to put it aside, or restore elsewhere by DSLM_STORE",
            )
        _check_unused(paths)
        stage = root / RESTORING
        with store_errors(stage):
            shutil.rmtree(stage, ignore_errors=True)
            (stage / NEW).mkdir(parents=True)
        try:
            record = _unpack(file, stage / NEW, tell)
            if not (stage / NEW / VERSION).exists():
                mark_store(stage / NEW, 1)
            now = datetime.now(UTC)
            plan = Plan(
                aside=f".replaced-{now:%Y%m%d-%H%M%S}",
                old=tuple(there),
                new=tuple(sorted(os.listdir(stage / NEW))),
            )
            write_atomically(stage / PLAN, to_json(plan))
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        _move(root, plan)
    return record


def finish(paths: Paths) -> Plan:
    """Take the renames that a killed restore has left."""
    with _alone(paths.root):
        plan = read_pinned(paths.root / RESTORING / PLAN, Plan)
        _move(paths.root, plan)
    return plan


def _move(root: Path, plan: Plan) -> None:
    """Each rename is skipped where it has been made."""
    stage = root / RESTORING
    with store_errors(root):
        for name in plan.old:
            if (root / name).exists() and not (root / plan.aside / name).exists():
                (root / plan.aside).mkdir(exist_ok=True)
                os.rename(root / name, root / plan.aside / name)
        for name in plan.new:
            if (stage / NEW / name).exists():
                os.rename(stage / NEW / name, root / name)
        sync_folder(root)
        shutil.rmtree(stage / NEW)
        (stage / PLAN).unlink()
        stage.rmdir()
        sync_folder(root)


def _entries(root: Path) -> list[str]:
    """What of a store is there; an empty folder, a volume's `lost+found` and the like are none."""
    with store_errors(root):
        return sorted(name for name in os.listdir(root) if name[0] != "." and name != "lost+found")


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    with store_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with exclusive(root / LOCK):
        yield


def _check_unused(paths: Paths) -> None:
    """StoreError while a service or an index job works here: their locks tell."""
    locks = [*paths.root.glob("adapters/.services/*"), *paths.root.glob("domains/*/index.lock")]
    for path in locks:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"A service or a job uses {paths.root}: it holds {path}"
                raise StoreError(message, "Stop it first") from error


def _unpack(file: Path, target: Path, tell: Tell) -> Record:
    """Every file with its digest checked against the record, which comes last."""
    free = shutil.disk_usage(target).free
    if (wanted := file.stat().st_size) + _RESERVE > free:
        raise StoreError(
            f"The backup holds {wanted:,} bytes, and {target.parent.parent} has {free:,} free",
            "Free some disk space; nothing has changed",
        )
    marks: dict[str, Mark] = {}
    try:
        with (
            store_errors(file),
            file.open("rb") as source,
            tarfile.open(fileobj=source, mode="r:") as tar,
        ):
            members = iter(tar)
            _check_opening(_content(tar, next(members, None), FIRST, file), file)
            for member in members:
                if LAST.fullmatch(member.name):
                    return _checked(tar, member, marks, target, file)
                name = _inner(member, file)
                marks[name] = _extract(tar, member, target / name, tell)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _refused(file, f"cannot be read to its end ({error})") from error
    raise _refused(file, "ends before its record: it was cut short")


def _checked(
    tar: tarfile.TarFile, member: tarfile.TarInfo, marks: dict[str, Mark], target: Path, file: Path
) -> Record:
    content = _content(tar, member, member.name, file)
    named = LAST.fullmatch(member.name)
    if named is None or hashlib.sha256(content).hexdigest() != named[1]:
        raise _refused(file, "has a record with another digest than its name says")
    record = Record.model_validate_json(content)
    for name in sorted({*record.files, *marks}):
        if record.files.get(name) != marks.get(name):
            raise _refused(file, f"holds {name!r} otherwise than its record says")
    for name in record.dropped:
        if name in marks:
            (target / name).unlink()
    return record


def _check_opening(content: bytes, file: Path) -> None:
    try:
        opening = Opening.model_validate_json(content)
    except ValidationError as error:
        raise _refused(file, "does not begin as one") from error
    if opening.format > FORMAT or opening.store > STORE_FORMAT:
        raise BadInput(
            f"{file} was made by a newer program (form {opening.format}, store {opening.store})",
            "Restore it with that program",
        )


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo | None, name: str, file: Path) -> bytes:
    if member is None or member.name != name or member.size > _LARGEST_RECORD:
        raise _refused(file, f"does not begin with {name}")
    source = tar.extractfile(member)
    if source is None:
        raise _refused(file, f"holds {name!r}, which is no plain file")
    with source:
        content = source.read()
    if len(content) != member.size:
        raise _refused(file, "was cut short")
    return content


def _inner(member: tarfile.TarInfo, file: Path) -> str:
    """The name below the store's root. BadInput for what is no plain file of a store."""
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    name = member.name.removeprefix(INNER)
    path = PurePosixPath(name)
    inside = str(path) == name and not path.is_absolute() and ".." not in path.parts
    named = bool(path.parts) and "\0" not in name and member.name.startswith(INNER)
    if not (plain and inside and named and is_wanted(path)):
        raise _refused(file, f"holds {member.name!r}, which is no file of a store")
    return name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, tell: Tell) -> Mark:
    digest, count = hashlib.sha256(), 0
    source = tar.extractfile(member)
    with store_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        private = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(target))
        with open(private, "wb") as out:
            while source and (piece := source.read(_PIECE)):
                out.write(piece)
                digest.update(piece)
                count += len(piece)
                tell(len(piece))
            out.flush()
            os.fsync(out.fileno())
        sync_folder(target.parent)
    return Mark(sha256=digest.hexdigest(), bytes=count)


def _mode(target: Path) -> int:
    """What only the owner may read when it is written: keys, and what callers wrote."""
    private = target.name == "keys.json" or target.parent.name in ("mirror", "feedback")
    return 0o600 if private else 0o644


def _refused(file: Path, reason: str) -> BadInput:
    return BadInput(f"{file} is no backup that can be restored: it {reason}", _REMEDY)
