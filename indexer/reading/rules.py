"""What a file may hold and how its parts are named; and the word for one that may not."""

from dataclasses import dataclass
from pathlib import Path

from indexer.domain import Domain, FieldSettings, LimitSettings
from indexer.errors import BadInput

MIB = 1024 * 1024
# Of one file: a table with a row per customer is not a folder of documents.
MAX_DOCUMENTS = 50_000
# Levels of objects, elements or arrays within each other that a file made by people has.
MAX_NESTING = 100


class Refused(Exception):
    """The file is left out; the message continues its name: "is protected by a password"."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what reading one file gives."""

    fields: FieldSettings
    limits: LimitSettings
    passwords: tuple[str, ...] = ()


@dataclass(slots=True)
class Budget:
    """What the archives in one file may still unpack to, in bytes, all of them together."""

    left: int

    def take(self, size: int) -> None:
        """Refused: it is more than is left."""
        self.left -= size
        if self.left < 0:
            raise Refused("unpacks to more than archives may")


def rules_of(domain: Domain) -> Rules:
    """BadInput: the file of passwords cannot be read."""
    settings = domain.documents
    return Rules(settings.fields, settings.limits, _passwords(domain.folder, settings.passwords))


def _passwords(folder: Path, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    try:
        lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise BadInput(
            f"Cannot read the passwords {folder / name}: {reason}",
            "Correct `documents.passwords` in domain.toml",
        ) from error
    return tuple(line for line in lines if line)
