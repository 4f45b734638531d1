"""How long a run should take, by what earlier runs of this domain took."""

from dataclasses import asdict, dataclass, replace

import orjson

from indexer.store.catalog import Catalog

_KEY = "rates"


@dataclass(frozen=True, slots=True)
class Rates:
    """What a run's time goes by. The defaults are of two cores of 2024 and a model like MiniLM;
    `measured` tells whether this domain has put its own figures in their place."""

    start: float = 3.0
    bytes_read_per_second: float = 2e6
    bytes_per_text: float = 400.0
    texts_per_second: float = 100.0
    chunks_written_per_second: float = 5000.0
    measured: bool = False

    def seconds(self, size: int, chunks: int) -> float:
        """For `size` bytes of new and changed files in a domain that has `chunks` already."""
        if not size and not chunks:
            return 0.0
        texts = size / self.bytes_per_text
        reading = size / self.bytes_read_per_second
        writing = (chunks + texts) / self.chunks_written_per_second
        return round(self.start + reading + texts / self.texts_per_second + writing, 1)


def read_rates(catalog: Catalog) -> Rates:
    kept = catalog.meta(_KEY)
    return Rates(**orjson.loads(kept)) if kept else Rates()


@dataclass(frozen=True, slots=True)
class Work:
    """What one run has done, and the seconds of its phases."""

    bytes_read: int
    texts_embedded: int
    chunks: int
    phases: dict[str, float]


_LEAST = 32


def keep_rates(catalog: Catalog, work: Work) -> None:
    """Learn from a run, where it did enough to tell."""
    rates, phases = read_rates(catalog), work.phases
    if work.texts_embedded >= _LEAST:
        rates = replace(
            rates,
            texts_per_second=_rate(work.texts_embedded, phases, "split", "embed"),
            measured=True,
        )
        if work.bytes_read:
            rates = replace(
                rates,
                bytes_read_per_second=_rate(work.bytes_read, phases, "read"),
                bytes_per_text=work.bytes_read / work.texts_embedded,
            )
    if work.chunks >= _LEAST:
        speed = _rate(work.chunks, phases, "write", "verify")
        rates = replace(rates, chunks_written_per_second=speed)
    catalog.put_meta(_KEY, orjson.dumps(asdict(rates)).decode())


def _rate(count: int, phases: dict[str, float], *names: str) -> float:
    return count / max(sum(phases.get(name, 0.0) for name in names), 0.01)
