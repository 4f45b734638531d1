"""Whether an embedder is the one that an index was made with, shown by texts they both embed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from indexer.errors import StoreError
from indexer.records import Vectors

# Never change one: they stand in the manifests of snapshots.
PROBES = (
    "How often should the filter be replaced?",
    "The contract ends thirty days after either party gives notice in writing.",
    "kubectl get pods --namespace monitoring -o wide",
    "Patients with a fever above 39.5 °C should be seen within 24 hours.",
    "Übergrößen, naïve façades and 東京 are written with more than ASCII.",
    "| part | torque |\n| --- | --- |\n| bolt M8 | 25 Nm |",
    "no",
    "A longer text repeats itself until a model has something to read. " * 6,
)
LEAST = 0.999


class Probed(Protocol):
    """What a check needs of indexer.embedding.embedder.Embedder."""

    @property
    def space(self) -> str: ...
    @property
    def pooling(self) -> str: ...
    @property
    def query_prefix(self) -> str: ...
    @property
    def passage_prefix(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def dimension(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def libraries(self) -> Mapping[str, str]: ...

    def embed_symmetric(self, texts: Sequence[str]) -> Vectors: ...


class Probe(Protocol):
    """A text and its vector, as a manifest keeps them."""

    @property
    def text(self) -> str: ...
    @property
    def vector(self) -> Sequence[float]: ...


class Mark(Protocol):
    """What a manifest says of the embedder (indexer.store.manifest.EmbedderMark)."""

    @property
    def space(self) -> str: ...
    @property
    def pooling(self) -> str: ...
    @property
    def query_prefix(self) -> str: ...
    @property
    def passage_prefix(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def dimension(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def libraries(self) -> Mapping[str, str]: ...
    @property
    def probes(self) -> Sequence[Probe]: ...


def check_probes(embedder: Probed, probes: Iterable[tuple[str, Vectors]]) -> None:
    """StoreError, with the lowest cosine, if the embedder makes something else of these texts."""
    lowest = _lowest(embedder, list(probes))
    if not lowest >= LEAST:  # so that NaN is refused as well
        raise StoreError(
            f"The index was made with another embedder: of a text that both embed, the vectors"
            f" have a cosine of {lowest:.4f}, below {LEAST}",
            "Index the domain again, or set up the embedding model that it was made with",
        )


def mismatch(mark: Mark, embedder: Probed) -> str:
    """Why these questions do not fit that index, naming what differs; "" if they do."""
    if mark.dimension != embedder.dimension:
        return f"its vectors have {mark.dimension} numbers, now they have {embedder.dimension}"
    if mark.space != embedder.space:
        return _what_differs(mark, embedder)
    kept = [(probe.text, np.array(probe.vector, dtype=np.float32)) for probe in mark.probes]
    lowest = _lowest(embedder, kept)
    if lowest >= LEAST:
        return ""
    libraries = _other_versions(mark.libraries, embedder.libraries) or "no library has changed"
    return f"a text that both embed has a cosine of {lowest:.4f}, below {LEAST} ({libraries})"


def _lowest(embedder: Probed, probes: Sequence[tuple[str, Vectors]]) -> float:
    if not probes:
        return 1.0
    found = embedder.embed_symmetric([text for text, _ in probes])
    kept = np.stack([vector for _, vector in probes])
    if kept.shape != found.shape:
        return -1.0
    return float(np.min(np.sum(kept * found, axis=1)))


def _what_differs(mark: Mark, embedder: Probed) -> str:
    pairs = {
        "pooling": (mark.pooling, embedder.pooling),
        "the prefix of questions": (mark.query_prefix, embedder.query_prefix),
        "the prefix of passages": (mark.passage_prefix, embedder.passage_prefix),
        "the longest text in tokens": (mark.max_tokens, embedder.max_tokens),
        "the number format": (mark.dtype, embedder.dtype),
    }
    found = [f"{name} was {a!r}, is {b!r}" for name, (a, b) in pairs.items() if a != b]
    return "; ".join(found) or "the model has other weights"


def _other_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
