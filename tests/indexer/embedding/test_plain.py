"""A plain BERT is read without sentence-transformers, and gives the very bits that it gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from indexer.domain import EmbedderSettings
from indexer.embedding import loading
from indexer.embedding.embedder import Embedder
from indexer.embedding.loaded import Parts
from indexer.embedding.plain import open_plain
from indexer.embedding.weights import PACKAGED, locate
from indexer.embedding.whole import open_whole
from tests.indexer.tiny_encoders import write_bge, write_gtr

_SHAPES = [(1, 1), (1, 2), (1, 33), (3, 20), (16, 48)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bge(tmp_path_factory.mktemp("models") / "bge-tiny-en-v1.5")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bge(tmp_path / "bge-tiny-en-v1.5")


def _both(folder: Path, dtype: torch.dtype) -> tuple[Parts, Parts]:
    plain = open_plain(folder, dtype)
    assert plain is not None
    return plain, open_whole("it", str(folder), "cpu", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["tiny", PACKAGED])
def test_its_vectors_are_those_of_transformers_to_the_last_bit(
    name: str, dtype: torch.dtype, tiny: Path
) -> None:
    plain, whole = _both(tiny if name == "tiny" else Path(locate(name)), dtype)
    words = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        for texts, tokens in _SHAPES:
            ids = torch.randint(1, 18, (texts, tokens), generator=words)
            mask = torch.ones_like(ids)
            for padded in (False, texts > 1):
                if padded:
                    mask[0, tokens // 2 :] = 0
                found, expected = plain.network(ids, mask), whole.network(ids, mask)
                assert torch.equal(found[mask.bool()], expected[mask.bool()])
                pooled = plain.pool(found.float(), mask)
                assert torch.equal(pooled, whole.pool(expected.float(), mask))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_all_that_is_known_of_it_is_the_same_either_way(pooling: str, tmp_path: Path) -> None:
    plain, whole = _both(write_bge(tmp_path / "tiny", pooling=pooling), torch.float32)
    assert plain.tokenizer.to_str() == whole.tokenizer.to_str()
    assert (plain.padding, plain.limit, plain.pooling) == (whole.padding, 48, whole.pooling)
    assert plain.pooling == pooling
    assert list(plain.weights) == list(whole.weights)
    assert all(torch.equal(plain.weights[name], whole.weights[name]) for name in whole.weights)


def test_an_index_made_either_way_fits_the_other(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EmbedderSettings(name=str(tiny))
    plain = Embedder(settings, device="cpu")
    monkeypatch.setattr(loading, "open_plain", lambda *_: None)
    whole = Embedder(settings, device="cpu")
    assert plain.fingerprint == whole.fingerprint
    for (_, one), (_, other) in zip(plain.probes(), whole.probes(), strict=True):
        assert np.array_equal(one, other)


def _change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def _relu(folder: Path) -> None:
    _change(folder / "config.json", hidden_act="relu")


def _relative_places(folder: Path) -> None:
    _change(folder / "config.json", position_embedding_type="relative_key")


def _own_code(folder: Path) -> None:
    _change(folder / "config.json", auto_map={"AutoModel": "own.Model"})


def _another_architecture(folder: Path) -> None:
    _change(folder / "config.json", architectures=["BertForMaskedLM"])


def _other_pooling(folder: Path) -> None:
    _change(folder / "1_Pooling" / "config.json", pooling_mode="max")


def _without_prompt(folder: Path) -> None:
    _change(folder / "1_Pooling" / "config.json", include_prompt=False)


def _lower_case(folder: Path) -> None:
    _change(folder / "sentence_bert_config.json", do_lower_case=True)


def _another_output(folder: Path) -> None:
    _change(folder / "sentence_bert_config.json", module_output_name="sentence_embedding")


def _not_normalised(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    (folder / "modules.json").write_text(json.dumps(modules[:-1]), encoding="utf-8")


def _another_tokenizer(folder: Path) -> None:
    _change(folder / "tokenizer_config.json", tokenizer_class="RobertaTokenizer")


def _further_tokens(folder: Path) -> None:
    added = {"18": {"content": "[NEW]", "special": True}}
    _change(folder / "tokenizer_config.json", added_tokens_decoder=added)


def _fewer_layers(folder: Path) -> None:
    _change(folder / "config.json", num_hidden_layers=1)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _no_settings(folder: Path) -> None:
    (folder / "config.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        _relu,
        _relative_places,
        _own_code,
        _another_architecture,
        _other_pooling,
        _without_prompt,
        _lower_case,
        _another_output,
        _not_normalised,
        _another_tokenizer,
        _further_tokens,
        _fewer_layers,
        _no_weights,
        _no_settings,
    ],
)
def test_what_is_not_plain_is_left_to_the_library(
    change: Callable[[Path], None], folder: Path
) -> None:
    assert open_plain(folder, torch.float32) is not None
    change(folder)
    assert open_plain(folder, torch.float32) is None


def test_a_model_of_another_kind_is_left_to_the_library(tmp_path: Path) -> None:
    assert open_plain(write_gtr(tmp_path / "gtr-t5-tiny"), torch.float32) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("do_lower_case", False), ("strip_accents", True), ("tokenize_chinese_chars", False)],
)
def test_words_that_the_library_would_cut_otherwise_are_left_to_it(
    key: str, value: bool, tmp_path: Path
) -> None:
    packaged = Path(locate(PACKAGED))
    for file in packaged.rglob("*"):
        if file.is_file():
            link = tmp_path / file.relative_to(packaged)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(file)
    assert open_plain(tmp_path, torch.float32) is not None
    described = tmp_path / "tokenizer_config.json"
    content = described.read_text(encoding="utf-8")
    described.unlink()
    described.write_text(content, encoding="utf-8")
    _change(described, **{key: value})
    assert open_plain(tmp_path, torch.float32) is None
