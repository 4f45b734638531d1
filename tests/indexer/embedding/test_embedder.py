"""Each model is pooled, prefixed and normalised as its makers say, whatever the number format."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from indexer.domain import EmbedderSettings
from indexer.embedding.embedder import Embedder, Role
from indexer.embedding.probes import check_probes
from indexer.embedding.weights import PACKAGED, identity, locate
from indexer.errors import BadInput, DslmError, StoreError
from indexer.records import Vectors
from tests.indexer.tiny_encoders import embed_directly, write_bge, write_gtr

_TEXTS = ["the kettle holds", "how big is the kettle", "the kettle boils boils boils boils"]


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return Embedder(EmbedderSettings(dtype="fp32"), device="cpu")


@pytest.fixture(scope="module")
def bge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bge(tmp_path_factory.mktemp("models") / "bge-tiny-en-v1.5")


@pytest.fixture(scope="module")
def gtr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gtr(tmp_path_factory.mktemp("models") / "gtr-t5-tiny")


def _open(folder: Path, dtype: str = "fp32") -> Embedder:
    settings = EmbedderSettings.model_validate({"name": str(folder), "dtype": dtype})
    return Embedder(settings, device="cpu")


def _streamed(embedder: Embedder, texts: list[str], role: Role) -> Vectors:
    result = np.zeros((len(texts), embedder.dimension), dtype=np.float32)
    for rows, vectors in embedder.stream(texts, role):
        result[rows] = vectors
    return result


def _reference(folder: str, texts: list[str]) -> Vectors:
    encoder = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": "float32"})
    encoded: Vectors = encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return encoded


def test_the_packaged_model_gives_the_vectors_of_sentence_transformers(minilm: Embedder) -> None:
    assert minilm.dimension == 384
    assert minilm.max_tokens == 254
    expected = _reference(locate(PACKAGED), _TEXTS)
    assert np.allclose(minilm.embed_passages(_TEXTS), expected, atol=1e-5)


def test_the_packaged_model_knows_what_belongs_together(minilm: Embedder) -> None:
    question = minilm.embed_queries(["How often should I remove limescale?"])[0]
    scores = minilm.embed_passages(["Descale it every month.", "We ship to Ireland."]) @ question
    assert scores[0] > scores[1] + 0.1


def test_bge_is_pooled_at_its_first_token_with_a_prefix_on_questions_only(bge: Path) -> None:
    embedder = _open(bge)
    prefix = "Represent this sentence for searching relevant passages: "
    asked = _reference(str(bge), [prefix + text for text in _TEXTS])
    plain = _reference(str(bge), _TEXTS)
    assert embedder.pooling == "cls"
    assert np.allclose(embedder.embed_queries(_TEXTS), asked, atol=1e-5)
    assert np.allclose(embedder.embed_passages(_TEXTS), plain, atol=1e-5)
    assert np.allclose(embedder.embed_symmetric(_TEXTS), plain, atol=1e-5)
    for_passages, for_demonstrations = embedder.embed_question(_TEXTS[0])
    assert np.allclose(for_passages, asked[0], atol=1e-5)
    assert np.allclose(for_demonstrations, plain[0], atol=1e-5)


def test_e5_has_a_prefix_on_questions_and_another_on_passages(tmp_path: Path) -> None:
    folder = write_bge(tmp_path / "e5-tiny", pooling="mean")
    embedder = _open(folder)
    asked = _reference(str(folder), ["query: " + text for text in _TEXTS])
    told = _reference(str(folder), ["passage: " + text for text in _TEXTS])
    assert np.allclose(embedder.embed_queries(_TEXTS), asked, atol=1e-5)
    assert np.allclose(embedder.embed_passages(_TEXTS), told, atol=1e-5)
    assert np.allclose(embedder.embed_symmetric(_TEXTS), _reference(str(folder), _TEXTS), atol=1e-5)


def test_probes_are_made_again_by_the_same_model_and_not_by_another(bge: Path, gtr: Path) -> None:
    check_probes(_open(bge, "bf16"), _open(bge).probes())
    with pytest.raises(StoreError, match="another embedder"):
        check_probes(_open(gtr), _open(bge).probes())


def test_bge_that_would_be_pooled_by_mean_is_refused(tmp_path: Path) -> None:
    folder = write_bge(tmp_path / "bge-tiny-en-v1.5", pooling="mean")
    with pytest.raises(BadInput, match=r"pools by mean.*need cls"):
        _open(folder)


def test_gtr_is_run_as_fp32_with_its_linear_layer_though_stored_as_fp16(gtr: Path) -> None:
    embedder = _open(gtr)
    assert (embedder.pooling, embedder.dimension, embedder.dtype) == ("mean+dense", 24, "fp32")
    assert np.allclose(embedder.embed_queries(_TEXTS), _reference(str(gtr), _TEXTS), atol=1e-4)


@pytest.mark.parametrize("kind", ["bge", "gtr"])
def test_bf16_gives_unit_vectors_of_the_same_space(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    precise, fast = _open(folder), _open(folder, "bf16")
    vectors = fast.embed_passages(_TEXTS)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert np.all(np.sum(vectors * precise.embed_passages(_TEXTS), axis=1) > 0.99)
    assert fast.space == precise.space
    assert fast.fingerprint != precise.fingerprint


def test_a_vector_depends_on_its_text_alone(minilm: Embedder) -> None:
    together = minilm.embed_passages(_TEXTS)
    alone = [minilm.embed_passages([text])[0] for text in reversed(_TEXTS)]
    assert np.array_equal(together, np.stack(alone[::-1]))


@pytest.mark.parametrize("kind", ["bge", "gtr"])
def test_batches_padded_to_a_budget_give_the_vectors_of_texts_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    padded = Embedder(EmbedderSettings(name=str(folder), dtype="fp32"), "cpu", batch_tokens=64)
    assert padded._plan([9, 4, 6]) == [[0, 2, 1]]
    found = padded.embed_symmetric(_TEXTS)
    assert np.allclose(found, _open(folder).embed_symmetric(_TEXTS), atol=1e-5)


@pytest.mark.parametrize("kind", ["bge", "gtr"])
def test_vectors_are_those_of_transformers_itself(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    expected = embed_directly(folder, _TEXTS)
    embedder = _open(folder)
    assert np.allclose(embedder.embed_passages(_TEXTS), expected, rtol=0, atol=1e-5)
    assert np.allclose(_streamed(embedder, _TEXTS, "passage"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["bge", "gtr"])
def test_a_stream_gives_each_row_once_with_the_bits_of_its_text_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    embedder = _open(request.getfixturevalue(kind))
    texts = [
        " ".join(["kettle"] * (1 + number % 9)) + " boils" * (number % 2) for number in range(150)
    ]
    rows = [row for found, _ in embedder.stream(texts, "question") for row in found]
    assert sorted(rows) == list(range(150))
    alone = np.stack([embedder.embed_symmetric([text])[0] for text in texts])
    assert np.array_equal(_streamed(embedder, texts, "question"), alone)


def test_a_stream_puts_the_prefix_of_its_role_before_each_text(bge: Path) -> None:
    embedder = _open(bge)
    assert np.array_equal(_streamed(embedder, _TEXTS, "query"), embedder.embed_queries(_TEXTS))
    plain = _streamed(embedder, _TEXTS, "question")
    assert np.array_equal(plain, embedder.embed_symmetric(_TEXTS))
    assert not np.allclose(plain, _streamed(embedder, _TEXTS, "query"), atol=1e-3)


def test_a_stream_can_be_left_at_any_batch(gtr: Path) -> None:
    embedder = _open(gtr)
    stream = embedder.stream(["the kettle boils"] * 5000, "passage")
    rows, vectors = next(stream)
    assert len(rows) == len(vectors) < 200
    stream.close()
    assert list(embedder.stream([], "passage")) == []


def test_other_weights_are_another_space(bge: Path, tmp_path: Path) -> None:
    other = write_bge(tmp_path / "bge-tiny-en-v1.5")
    same = _open(other).space
    file = other / "1_Pooling" / "config.json"
    assert file.exists()
    weights = SentenceTransformer(str(other), device="cpu")
    next(weights.parameters()).data.mul_(2)
    weights.save(str(other), create_model_card=False)
    assert _open(bge).space == same != _open(other).space


def test_tokens_are_counted_without_those_every_text_gets(minilm: Embedder) -> None:
    assert minilm.count_tokens("the kettle") == 2
    assert minilm.count_tokens("word " * 1000) == 1000


def test_no_texts_are_no_rows(minilm: Embedder) -> None:
    assert minilm.embed_passages([]).shape == (0, 384)


def test_a_question_longer_than_the_model_reads_is_still_embedded(minilm: Embedder) -> None:
    assert minilm.embed_queries(["word " * 2000]).shape == (1, 384)


def test_threads_may_embed_at_once(minilm: Embedder) -> None:
    texts = [f"the kettle {number}" for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: minilm.embed_queries([text])[0], texts))
    assert np.array_equal(np.stack(found), minilm.embed_queries(texts))


def test_a_model_that_is_not_there_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match=r"no-such-folder.*embedder\.name"):
        _open(tmp_path / "no-such-folder")


def test_weights_that_give_no_direction_are_an_error(tmp_path: Path) -> None:
    folder = write_bge(tmp_path / "bge-tiny-en-v1.5")
    encoder = SentenceTransformer(str(folder), device="cpu")
    for weights in encoder.parameters():
        weights.data.fill_(float("nan"))
    encoder.save(str(folder), create_model_card=False)
    with pytest.raises(DslmError, match="not finite"):
        _open(folder)


def test_identity_follows_the_settings_and_the_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    settings = EmbedderSettings(name=str(tmp_path))
    before = identity(settings)
    assert before == identity(settings)
    assert before != identity(settings.model_copy(update={"dtype": "fp32"}))
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    assert before != identity(settings)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5"),
        ("gtr-t5-large", "sentence-transformers/gtr-t5-large"),
        ("someone/else", "someone/else"),
    ],
)
def test_a_name_that_is_no_folder_is_asked_of_the_hub(name: str, place: str) -> None:
    assert locate(name) == place


def test_a_revision_of_a_folder_is_refused(bge: Path) -> None:
    settings = EmbedderSettings(name=str(bge), revision="main")
    with pytest.raises(BadInput, match=r"embedder\.revision.*is a folder here"):
        Embedder(settings, device="cpu")


def test_a_number_format_that_the_backend_lacks_is_refused(bge: Path) -> None:
    with pytest.raises(BadInput, match=r"'int8' is not offered.*'torch'.*fp32, bf16"):
        _open(bge, "int8")
