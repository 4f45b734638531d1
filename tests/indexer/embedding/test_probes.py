"""An index is opened only by an embedder that makes what it was made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from indexer.embedding.probes import PROBES, check_probes, mismatch
from indexer.errors import StoreError
from indexer.records import Vectors


@dataclass
class _Embedder:
    space: str = "s"
    pooling: str = "mean"
    query_prefix: str = ""
    passage_prefix: str = ""
    max_tokens: int = 254
    dimension: int = 4
    dtype: str = "fp32"
    backend: str = "torch"
    libraries: Mapping[str, str] = field(default_factory=lambda: {"torch": "2"})
    turned: float = 0.0

    def embed_symmetric(self, texts: Sequence[str]) -> Vectors:
        angles = np.array([len(text) for text in texts], dtype=np.float32) + self.turned
        zero = np.zeros_like(angles)
        return np.stack([np.cos(angles), np.sin(angles), zero, zero], axis=1)

    def probes(self) -> list[tuple[str, Vectors]]:
        return list(zip(PROBES, self.embed_symmetric(PROBES), strict=True))


@dataclass
class _Probe:
    text: str
    vector: Sequence[float]


@dataclass
class _Mark(_Embedder):
    probes: Sequence[_Probe] = ()  # type: ignore[assignment]


def _mark(**changes: object) -> _Mark:
    kept = [_Probe(text, vector.tolist()) for text, vector in _Embedder().probes()]
    return replace(_Mark(probes=kept), **changes)  # type: ignore[arg-type]


def test_the_same_embedder_fits() -> None:
    check_probes(_Embedder(), _Embedder().probes())
    assert mismatch(_mark(), _Embedder()) == ""
    assert mismatch(_mark(), _Embedder(turned=0.01)) == ""


def test_vectors_that_have_turned_are_refused_with_their_cosine() -> None:
    with pytest.raises(StoreError, match=r"cosine of 0\.9950, below 0\.999"):
        check_probes(_Embedder(turned=0.1), _Embedder().probes())
    found = mismatch(_mark(), _Embedder(turned=0.1, libraries={"torch": "3"}))
    assert "0.9950" in found
    assert "torch was 2, is 3" in found


def test_vectors_that_are_no_numbers_are_refused() -> None:
    broken = [(PROBES[0], np.full(4, np.nan, dtype=np.float32))]
    with pytest.raises(StoreError):
        check_probes(_Embedder(), broken)
    assert mismatch(_mark(probes=[_Probe(PROBES[0], [float("nan")] * 4)]), _Embedder())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dimension": 8}, "have 8 numbers, now they have 4"),
        ({"space": "t", "pooling": "cls"}, "pooling was 'cls', is 'mean'"),
        ({"space": "t", "query_prefix": "q: "}, "prefix of questions was 'q: ', is ''"),
        ({"space": "t", "max_tokens": 510}, "510, is 254"),
        ({"space": "t", "dtype": "int8"}, "number format was 'int8', is 'fp32'"),
        ({"space": "t"}, "the model has other weights"),
    ],
)
def test_what_differs_is_named(changes: dict[str, object], reason: str) -> None:
    assert reason in mismatch(_mark(**changes), _Embedder())
