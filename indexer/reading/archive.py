"""Archives, and the office files that are archives: what unpacks to more than it may is refused."""

import io
import lzma
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from indexer.reading.rules import Budget, Refused

_BLOCK = 1024 * 1024
_ENCRYPTED = 0x1
_MOST_ENTRIES = 20_000
# What may fail in the archive reader for damaged or unusual files.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    ValueError,
    NotImplementedError,
    EOFError,
    KeyError,
)


@contextmanager
def open_archive(content: bytes) -> Iterator[zipfile.ZipFile]:
    """Refused: damaged, now or while it is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive
    except DAMAGED as error:
        raise Refused(f"is damaged: {error}") from error


def check_sums(archive: zipfile.ZipFile, budget: Budget) -> None:
    """By the directory, which is a bound: nothing unpacks more of an entry here than it says.

    Refused: more than may be.
    """
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise Refused(f"holds {len(entries)} entries; {_MOST_ENTRIES} can be read")
    budget.take(sum(entry.file_size for entry in entries))


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, passwords: Sequence[str]) -> bytes:
    """Refused: damaged, or locked and no password fits."""
    attempts: list[bytes | None] = [None]
    if entry.flag_bits & _ENCRYPTED:
        attempts = [password.encode() for password in passwords]
    for password in attempts:
        try:
            return archive.read(entry, pwd=password)
        except RuntimeError:  # a wrong password
            continue
        except DAMAGED as error:
            if password is None or "compression" in str(error):
                raise Refused(f"is damaged: {error}") from error
    raise Refused("is protected by a password")


def check_parts(content: bytes, budget: Budget) -> None:
    """Before an office file goes to a library: unpack its XML once, here, and see that it is as
    long as it says and defines no entities, which can repeat a word into gigabytes."""
    with open_archive(content) as archive:
        check_sums(archive, budget)
        for entry in archive.infolist():
            if entry.flag_bits & _ENCRYPTED or entry.filename == "EncryptedPackage":
                raise Refused("is protected by a password")
            if not entry.filename.lower().endswith((".xml", ".rels", ".xhtml", ".html", ".opf")):
                continue
            if entry.filename == "META-INF/manifest.xml":
                _check_manifest(archive.read(entry))
            _check_part(archive, entry)


def _check_manifest(manifest: bytes) -> None:
    if b"encryption-data" in manifest:
        raise Refused("is protected by a password")


def _check_part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    overlap = b""
    with archive.open(entry) as part:
        while block := part.read(_BLOCK):
            if b"<!ENTITY" in overlap + block or b"<\0!\0E\0N\0T\0I\0T\0Y\0" in overlap + block:
                raise Refused("defines XML entities, and those are not followed")
            overlap = block[-20:]


def part_tree(archive: zipfile.ZipFile, name: str) -> ET.Element | None:
    """An XML part of an office file; None where there is none. Refused: no XML."""
    try:
        content = archive.read(name)
    except KeyError:
        return None
    if b"<!ENTITY" in content:
        raise Refused("defines XML entities, and those are not followed")
    try:
        return ET.fromstring(content)
    except ET.ParseError as error:
        raise Refused(f"is damaged: {name} is no XML ({error})") from error


def readable_names(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Files with their names, in order of these; hidden ones and what a system adds left out."""
    named = [(_plain(entry.filename), entry) for entry in archive.infolist()]
    for name, entry in sorted(named, key=lambda one: one[0]):
        hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
        if name and not hidden and not entry.is_dir():
            yield name, entry


def _plain(name: str) -> str:
    """Some write "./a.md" and "/a.md" for "a.md"."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))
