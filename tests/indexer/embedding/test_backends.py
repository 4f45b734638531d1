"""Other libraries give the vectors of torch, from a copy that is converted once."""

from pathlib import Path

import numpy as np
import pytest

from indexer.domain import EmbedderSettings
from indexer.embedding.embedder import Embedder
from tests.indexer.tiny_encoders import write_bge, write_gtr

_TEXTS = ["the kettle holds", "how big is the kettle", "the kettle boils boils boils boils", "is"]
_WRITERS = {"bge-tiny-en-v1.5": write_bge, "gtr-t5-tiny": write_gtr}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dslm" / "converted"


def _open(folder: Path, backend: str, dtype: str = "fp32") -> Embedder:
    return Embedder(
        EmbedderSettings.model_validate({"name": str(folder), "backend": backend, "dtype": dtype})
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", _WRITERS)
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_converted_model_gives_the_vectors_of_torch(
    backend: str, name: str, tmp_path: Path, cache: Path
) -> None:
    folder = _WRITERS[name](tmp_path / name)
    files = sorted(folder.rglob("*"))
    torch = _open(folder, "torch")
    expected = torch.embed_passages(_TEXTS)
    converted = _open(folder, backend)
    assert converted.space == torch.space
    assert converted.fingerprint != torch.fingerprint
    assert np.allclose(converted.embed_passages(_TEXTS), expected, atol=1e-5)
    assert sorted(folder.rglob("*")) == files
    kept = {file: file.stat().st_mtime_ns for file in cache.rglob("*")}
    assert kept
    again = _open(folder, backend)
    assert np.array_equal(again.embed_passages(_TEXTS), converted.embed_passages(_TEXTS))
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*")} == kept


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_int8_is_near_and_a_space_of_its_own(
    backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_bge(tmp_path / "bge-tiny-en-v1.5")
    precise, small = _open(folder, "torch"), _open(folder, backend, "int8")
    assert capfd.readouterr().out == ""  # a job's output is read by programs
    texts = [*_TEXTS, "the kettle big"] * 5
    together = small.embed_passages(texts)
    assert np.all(np.sum(together * precise.embed_passages(texts), axis=1) > 0.97)
    assert small.space != precise.space
    alone = np.stack([small.embed_passages([text])[0] for text in texts])
    assert np.array_equal(together, alone)
