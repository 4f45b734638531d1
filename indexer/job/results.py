"""What an index job says: how far it is, what it would do, what it did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from indexer.records import Rejected


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` (0: not known yet) in a phase: scan, read, split, embed, write, verify.

    `rate` is per second, `left` the seconds that the phase should still take; None: not known.
    """

    phase: str
    done: int
    total: int
    rate: float = 0.0
    left: float | None = None


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What a run would do, by paths of files; `renamed` maps old to new.

    `seconds` is what it should take: by the rates of earlier runs where `measured`.
    """

    new: list[str]
    changed: list[str]
    renamed: dict[str, str]
    gone: list[str]
    unchanged: list[str]
    quarantined: list[Rejected]
    demonstrations: int
    seconds: float
    measured: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """How many files, by what had become of them since the last run."""

    new: int = 0
    changed: int = 0
    renamed: int = 0
    gone: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What a run did.

    `documents`, `chunks` and `demonstrations` are in the snapshot, `duplicates` chunks are left
    out of it; `embedded` and `reused` count texts, `masked` pieces of personal data by kind.
    `phases` are seconds, `seconds` the whole run, `bytes` the snapshot's size.
    """

    snapshot: str
    documents: int
    chunks: int
    demonstrations: int
    embedded: int
    reused: int
    rejected: list[Rejected]
    seconds: float
    files: Changes = Changes()
    duplicates: int = 0
    masked: Mapping[str, int] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    bytes: int = 0


def silent(_: Progress) -> None:
    """A report to nobody."""
