"""Office files behind a password: opened with one of those given."""

import io
import struct
from collections.abc import Sequence

import msoffcrypto
import olefile
from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError, ParseError

from indexer.reading.kinds import Kind
from indexer.reading.rules import Refused

_STREAMS: tuple[tuple[str, Kind], ...] = (
    ("WordDocument", "doc"),
    ("Workbook", "xls"),
    ("Book", "xls"),
    ("PowerPoint Document", "ppt"),
    ("__properties_version1.0", "msg"),
)
_BROKEN = (
    struct.error,
    FileFormatError,
    ParseError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


def ole_kind(content: bytes) -> Kind | None:
    """doc, xls, ppt or msg by what the container holds; None where it is none of them."""
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as container:
            return next((kind for name, kind in _STREAMS if container.exists(name)), None)
    except _BROKEN as error:
        raise Refused(f"is damaged: {error}") from error


def unlocked(content: bytes, passwords: Sequence[str]) -> bytes | None:
    """The file without its lock; None where it has none. Refused: no password opens it."""
    try:
        office = msoffcrypto.OfficeFile(io.BytesIO(content))
        if not office.is_encrypted():
            return None
    except _BROKEN:
        return None
    for password in passwords:
        opened = io.BytesIO()
        try:
            office.load_key(password=password)
            office.decrypt(opened)
        except (InvalidKeyError, DecryptionError, *_BROKEN):
            continue
        return opened.getvalue()
    tried = "; none of the passwords given opens it" if passwords else ""
    raise Refused(f"is protected by a password{tried}")
