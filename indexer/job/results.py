"""What an index job says: how far it is, what it would do, what it did."""

from dataclasses import dataclass

from indexer.records import Rejected


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` in a phase: read, split, embed or write."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What a run would do: paths of documents, and the sources that cannot be read."""

    new: list[str]
    changed: list[str]
    gone: list[str]
    unchanged: list[str]
    rejected: list[Rejected]
    demonstrations: int


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What a run did; `embedded` and `reused` count texts, `seconds` the whole run."""

    snapshot: str
    documents: int
    chunks: int
    demonstrations: int
    embedded: int
    reused: int
    rejected: list[Rejected]
    seconds: float


def silent(_: Progress) -> None:
    """A report to nobody."""
