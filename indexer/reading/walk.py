"""The files of a domain, found on disk: walked and looked at, never opened."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TypeAlias

from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.reading.kinds import KINDS, NAMES, suffix_of
from indexer.reading.layout import is_name
from indexer.records import Rejected

UPLOADS = "uploads/"
_CLOSED = (errno.EACCES, errno.EPERM)
# A path longer than the kernel takes, or a file where a moment ago a folder was.
_OUT_OF_REACH = (errno.ENAMETOOLONG, errno.ENOTDIR)
_Entry: TypeAlias = tuple[os.DirEntry[str], str]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was found. `path` is posix, in the domain's own namespace; `file` has no link
    in it, so that whoever opens it can see that nothing was put in its place since."""

    path: str
    file: Path
    size: int
    mtime_ns: int


def scan(domain: Domain, uploads: Path | None = None) -> Iterator[SourceFile | Rejected]:
    """Every file in order of path, of each configured folder in turn and then of `uploads`.

    Hidden files are left out, links out of a folder refused; of two usable files with one path the
    second is rejected. BadInput: a configured path does not exist or cannot be listed.
    """
    seen: set[str] = set()
    for found in _everything(domain, uploads):
        if found.path in seen:
            yield Rejected(found.path, "another document has this path")
            continue
        if isinstance(found, SourceFile):
            seen.add(found.path)
        yield found


def _everything(domain: Domain, uploads: Path | None) -> Iterator[SourceFile | Rejected]:
    largest = domain.documents.limits.file_mb * 1024 * 1024
    for entry in domain.documents.paths:
        yield from _Walk(largest).entry(domain.folder / entry)
    if uploads is not None and uploads.is_dir():
        yield from _Walk(largest, UPLOADS).entry(uploads)


@dataclass(frozen=True, slots=True)
class _Walk:
    """`largest` in bytes; `prefix` comes before every path."""

    largest: int
    prefix: str = ""

    def entry(self, entry: Path) -> Iterator[SourceFile | Rejected]:
        """`entry` is a folder, or one file; a document's path is relative to it, or its name."""
        real = os.path.realpath(entry)
        if os.path.isdir(real):
            yield from self._folder(real)
        elif os.path.exists(real):
            yield self._file(real, self.prefix + entry.name)
        else:
            raise BadInput(
                f"The document folder {entry} does not exist",
                "Create it, or correct `documents.paths` in domain.toml",
            )

    def _folder(self, root: str) -> Iterator[SourceFile | Rejected]:
        """In order of the paths' parts: a folder's files stand where its name stands.

        Without recursion, for folders nest deeper than Python's stack.
        """
        pending = _listed(root, self.prefix, root)
        while pending:
            found = pending.pop()
            if isinstance(found, Rejected):
                yield found
                continue
            entry, path = found
            if entry.is_symlink():
                yield self._link(entry.path, path, root)
            elif entry.is_dir(follow_symlinks=False):
                pending += _listed(entry.path, f"{path}/", root)
            else:
                yield self._file(entry.path, path)

    def _link(self, link: str, path: str, root: str) -> SourceFile | Rejected:
        real = os.path.realpath(link)
        if not real.startswith(root.rstrip("/") + "/"):
            reason = "is a link out of the document folder, and those are not followed"
            return Rejected(_shown(path), reason)
        if os.path.isdir(real):
            reason = "is a link to a folder, and those are not followed"
            return Rejected(_shown(path), reason)
        return self._file(real, path)

    def _file(self, file: str, path: str) -> SourceFile | Rejected:
        try:
            state = os.stat(file, follow_symlinks=False)
        except OSError as error:
            return Rejected(_shown(path), f"cannot be read: {error.strerror}")
        reason = self._refusal(path, state)
        if reason:
            return Rejected(_shown(path), reason)
        return SourceFile(path, Path(file), state.st_size, state.st_mtime_ns)

    def _refusal(self, path: str, state: os.stat_result) -> str:
        """Why this file need not even be opened; "" when it is to be."""
        if not is_name(path):
            return "has a name that is not text"
        if not S_ISREG(state.st_mode):
            return "is not a file"
        if suffix_of(path) not in KINDS:
            return f"is of no kind that can be read ({NAMES})"
        if state.st_size > self.largest:
            return f"is larger than {self.largest // 1024 // 1024} MiB; split it"
        return ""


def _listed(folder: str, prefix: str, root: str) -> list[_Entry | Rejected]:
    """What a folder holds, each with its path, the first of them last."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        if error.errno == errno.ENOENT and folder != root:
            return []
        return [_unlisted(folder, prefix, root, error)]
    shown.sort(key=lambda entry: entry.name, reverse=True)
    return [(entry, prefix + entry.name) for entry in shown]


def _unlisted(folder: str, prefix: str, root: str, error: OSError) -> Rejected:
    """A folder that is closed on purpose is left out; one that fails must not look empty."""
    path = prefix.rstrip("/")
    beyond = error.errno in _OUT_OF_REACH and folder != root
    if beyond or (error.errno in _CLOSED and path):
        return Rejected(_shown(path), f"cannot be listed: {error.strerror}")
    raise BadInput(
        f"The document folder {folder} cannot be listed: {error.strerror}",
        "Mount or repair it, or correct `documents.paths` in domain.toml",
    ) from error


def _shown(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
