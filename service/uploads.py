"""Documents that come through the API, in a folder of each domain that nobody else writes.

A file is written beside the folder's documents and put among them, by a rename, when all of its
request is there. Nothing outside the folder is written or read: names are checked, every step down
is opened without following links. Files and folders only; knows nothing of HTTP and of indexing.
"""

import contextlib
import errno
import os
import shutil
import stat
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import StoreError
from indexer.reading.layout import is_name
from indexer.settings import store_errors
from service.errors import AlreadyThere, Conflict, InvalidRequest, OutOfSpace, UnknownName

PREFIX = "uploads/"
INCOMING = ".incoming"
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_DEPTH = 16
STALE_SECONDS = 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of the folder; `path` is the document's, with the prefix."""

    path: str
    size: int
    mtime_ns: int


def clean_name(raw: str) -> str:
    """A path below the folder, its letters composed. InvalidRequest says what is wrong with it."""
    name = unicodedata.normalize("NFC", raw)
    parts = name.split("/")
    wrong = _wrong(name, parts)
    if wrong:
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        raise InvalidRequest(f"{shown!r} cannot be a document's name: {wrong}", param="file")
    return name


def _wrong(name: str, parts: Sequence[str]) -> str:
    broken = any("\ud800" <= sign <= "\udfff" or sign == "\ufffd" for sign in name)
    if broken or not is_name(name):
        return "it is not text in UTF-8, or holds signs that cannot be shown"
    if "\\" in name:
        return "it holds a backslash; folders are parted by /"
    if any(not part or part != part.strip() for part in parts):
        return "it is empty, or begins or ends with a blank or a /, or has one beside a /"
    if any(part.startswith(".") for part in parts):
        return "a part of it begins with a dot"
    if len(parts) > MAX_DEPTH or len(name.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes or deeper than {MAX_DEPTH} folders"
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return f"a part of it is longer than {MAX_NAME_BYTES} bytes"
    return ""


class Uploads:
    """The folder of one domain. Blocking: called from worker threads, any number at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._changing = threading.Lock()

    def clear_stale(self) -> None:
        """Remove what a killed service left behind."""
        for left in self.root.glob(f"{INCOMING}/*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)

    def publish(self, staged: dict[str, Path], replace: bool) -> None:
        """All of them, or none if there is anything that one of them cannot replace."""
        with self._changing, disk_errors(self.root):
            for name in staged:
                self._check(name, replace)
            _check_each_other(staged)
            for name, file in staged.items():
                with _folder(self.root, name.split("/")[:-1], create=True) as parent:
                    os.replace(file, name.rpartition("/")[2], dst_dir_fd=parent)
                    os.fsync(parent)

    def find(self, name: str) -> Upload | None:
        """None if there is no file of this name; what is neither file nor folder is not found."""
        try:
            with _folder(self.root, name.split("/")[:-1]) as parent:
                found = os.stat(name.rpartition("/")[2], dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, Conflict):
            return None
        regular = stat.S_ISREG(found.st_mode)
        return Upload(PREFIX + name, found.st_size, found.st_mtime_ns) if regular else None

    def remove(self, name: str) -> None:
        """The file, and the folders that it leaves empty. UnknownName if it is not there."""
        parts = name.split("/")
        with self._changing, store_errors(self.root):
            try:
                with _folder(self.root, parts[:-1]) as parent:
                    os.unlink(parts[-1], dir_fd=parent)
                    os.fsync(parent)
            except FileNotFoundError as error:
                raise UnknownName(f"There is no document '{PREFIX}{name}'") from error
            for depth in range(len(parts) - 1, 0, -1):
                with contextlib.suppress(OSError), _folder(self.root, parts[: depth - 1]) as above:
                    os.rmdir(parts[depth - 1], dir_fd=above)

    def walk(self, after: str = "") -> Iterator[Upload]:
        """Every file whose path comes after `after`, by path; links and hidden ones left out."""
        with store_errors(self.root):
            yield from _walk(self.root, PREFIX, after)

    def _check(self, name: str, replace: bool) -> None:
        parts = name.split("/")
        with contextlib.suppress(FileNotFoundError):
            with _folder(self.root, parts[:-1]) as parent:
                found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no ordinary file"
                raise Conflict(f"'{PREFIX}{name}' is {kind}", "Choose another name")
            if not replace:
                raise AlreadyThere(f"'{PREFIX}{name}' is already there", "Leave If-None-Match out")


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full disk is an answer of its own; other troubles are the store's."""
    try:
        with store_errors(path):
            yield
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
            raise OutOfSpace("The disk is full", "Free some space and send it again") from error
        raise


def _check_each_other(staged: dict[str, Path]) -> None:
    for name in staged:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in staged:
                raise Conflict(f"'{above}' cannot be a file and a folder", "Rename one of them")


@contextlib.contextmanager
def _folder(root: Path, parts: Sequence[str], create: bool = False) -> Iterator[int]:
    """A descriptor of the folder; Conflict if a part is a file or a link, which is not followed."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
                    os.fsync(descriptor)
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                below = os.open(part, flags, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                raise Conflict(f"'{part}' is not a folder here", "Choose another name") from error
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(folder: Path, path: str, after: str) -> Iterator[Upload]:
    """In the order of whole paths, which is not that of names: "a.md" comes before "a/b"."""
    try:
        with os.scandir(folder) as entries:
            here = sorted((entry.name + "/" * _is_folder(entry), entry) for entry in entries)
    except FileNotFoundError:
        return
    for name, entry in here:
        below = path + name
        if (
            name.startswith(".")
            or not is_name(name)
            or (below <= after and not after.startswith(below))
        ):
            continue
        if name.endswith("/"):
            yield from _walk(folder / entry.name, below, after)
        elif below > after and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                found = entry.stat(follow_symlinks=False)
                yield Upload(below, found.st_size, found.st_mtime_ns)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
