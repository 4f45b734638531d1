"""Brings the journal up to the files: forgets, renames, reads, masks."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.job.comparison import CHANGED, NEW, TOUCHED, Comparison
from indexer.job.runner import Runner
from indexer.reading.walk import SourceFile
from indexer.records import Document, Rejected, content_id
from indexer.store.catalog import Catalog
from indexer.store.journal import QUARANTINED, READ, REFUSED, FileEntry, Journal, Taken

if TYPE_CHECKING:
    from indexer.reading.reader import Reading

Mask = Callable[[Document], Taken]


class Intake:
    """Takes what a comparison found into the catalog. `mask` sees documents before anything."""

    def __init__(
        self, catalog: Catalog, comparison: Comparison, reader: str, mask: Mask, domain: Domain
    ) -> None:
        self._journal = Journal(catalog)
        self._comparison = comparison
        self._reader = reader
        self._mask = mask
        self._domain = domain

    def settle(self) -> list[SourceFile]:
        """All but reading: files that moved, are gone, refused or only touched.

        Returns the renamed whose documents depend on their name; these have to be read.
        """
        now = self._comparison.read_ns
        unsure = [
            source for old, source in self._comparison.renamed() if not self._move(old, source)
        ]
        for path in self._comparison.gone():
            self._journal.forget(path)
        for source in self._comparison.sources(TOUCHED):
            self._journal.touch(source.path, source.size, source.mtime_ns, now)
        for rejected in self._comparison.refused():
            entry = FileEntry(rejected.path, 0, 0, 0, "", "", REFUSED, (rejected,))
            if self._journal.entry(rejected.path) != entry:
                self._journal.put(entry)
        return unsure

    def read(
        self, runner: Runner, also: Iterable[SourceFile], heard: Callable[[bool], None]
    ) -> None:
        """Read what is new or changed; `heard` after each file, whether its documents changed."""
        for reading in runner.read(self._domain, self._todo(also)):
            if not reading.sha256 and not reading.source.file.exists():
                self._vanished(reading.source)
                heard(True)
                continue
            heard(self._put(reading))

    def _todo(self, also: Iterable[SourceFile]) -> Iterator[SourceFile]:
        yield from also
        yield from self._comparison.sources(NEW, CHANGED)

    def _put(self, reading: "Reading") -> bool:
        state = READ if reading.documents else QUARANTINED
        rejected = tuple(reading.rejected)
        entry = self._entry(reading.source, reading.sha256, state, rejected)
        return self._journal.put(entry, [self._mask(d) for d in reading.documents])

    def _entry(
        self, source: SourceFile, sha256: str, state: str, rejected: tuple[Rejected, ...] = ()
    ) -> FileEntry:
        read_ns = self._comparison.read_ns
        return FileEntry(
            source.path,
            source.size,
            source.mtime_ns,
            read_ns,
            sha256,
            self._reader,
            state,
            rejected,
        )

    def _vanished(self, source: SourceFile) -> None:
        """A file that is gone since it was found. A folder that is gone is no such thing."""
        for entry in self._domain.documents.paths:
            if not (self._domain.folder / entry).exists():
                raise BadInput(
                    f"The document folder {self._domain.folder / entry} vanished while it was read",
                    "Mount it again; what was published has not changed",
                )
        self._journal.forget(source.path)

    def _move(self, old: str, source: SourceFile) -> bool:
        """Give the documents of a renamed file their new path; False if they must be read anew."""
        known, taken = self._journal.entry(old), self._journal.documents(old)
        if known is None or not _depends_on_folder_only(old, source.path, taken):
            self._journal.forget(old)
            return False
        moved = [Taken(_moved(t.document, old, source.path), t.masked) for t in taken]
        rejected = tuple(
            Rejected(_renamed(r.path, old, source.path), r.reason) for r in known.rejected
        )
        self._journal.forget(old)
        self._journal.put(self._entry(source, known.sha256, READ, rejected), moved)
        return True


def _depends_on_folder_only(old: str, new: str, taken: list[Taken]) -> bool:
    """Whether reading under the new name gives the same: a title may be made of the file's name."""
    one, other = PurePosixPath(old), PurePosixPath(new)
    if one.name == other.name:
        return True
    named = any(_plain(t.document.title) == _plain(one.stem) for t in taken)
    return one.suffix == other.suffix and not named


def _plain(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def _moved(document: Document, old: str, new: str) -> Document:
    path = _renamed(document.path, old, new)
    name = content_id(path, document.title, document.text)
    d = document
    return Document(name, path, d.title, d.text, d.sha256, d.blocks, d.pages, d.fields)


def _renamed(path: str, old: str, new: str) -> str:
    """A document's path begins with its file's."""
    return new + path[len(old) :] if path.startswith(old) else path
