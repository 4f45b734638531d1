"""BERTScore equals what the package `bert-score` computes, to the last digits of float32."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE, WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
)

from eval.scoring.bertscore import BertScoreSettings, bert_scores
from indexer.errors import BadInput

SAID = [
    "the kettle holds two litres of water",
    "It boils in three minutes, no longer.",
    "descale",
    "citric acid",
    "the kettle holds two litres of water",
    "never use vinegar " * 40,
]
EXPECTED = [
    "The kettle holds 1.7 litres.",
    "Water boils in about three minutes.",
    "Descale the kettle every month with citric acid.",
    "Use citric acid, or lemons.",
    "the kettle holds two litres of water",
    "Never use vinegar.",
]
BASELINE = "LAYER,P,R,F\n0,0.3,0.3,0.3\n1,0.41,0.42,0.43\n2,0.51,0.52,0.53\n"


def _bert(folder: Path) -> Path:
    """Two layers over word pieces, sixty-four places."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained = trainers.WordPieceTrainer(
        vocab_size=120,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SAID, *EXPECTED], trained)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def _roberta(folder: Path, *, spaced: bool) -> Path:
    """Two layers over pairs of bytes, sixty-four places behind two that are never used."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SAID, *EXPECTED], trained)
    tokenizer.model.save(str(folder))
    words, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    RobertaTokenizer(words, merges, model_max_length=64, add_prefix_space=spaced).save_pretrained(
        folder
    )
    torch.manual_seed(3)
    config = RobertaConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bert(tmp_path_factory.mktemp("bert"))


def _theirs(model: Path, **how: Any) -> tuple[list[list[float]], str]:
    """Rows of precision, recall and F1; and the hash."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports have old regular expressions
        import bert_score

        found, name = bert_score.score(
            SAID,
            EXPECTED,
            model_type=str(model),
            num_layers=2,
            return_hash=True,
            device="cpu",
            nthreads=0,
            **how,
        )
    return torch.stack(found, dim=1).tolist(), name


@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize("rescaled", [False, True])
def test_it_equals_the_package_and_has_its_hash(
    model: Path, tmp_path: Path, idf: bool, rescaled: bool
) -> None:
    file = tmp_path / "baseline.tsv"
    file.write_text(BASELINE, encoding="utf-8")
    how: dict[str, Any] = {"idf": idf}
    if rescaled:
        how |= {"rescale_with_baseline": True, "baseline_path": str(file), "lang": "en"}
    theirs, name = _theirs(model, **how)
    ours = bert_scores(
        SAID,
        EXPECTED,
        BertScoreSettings(str(model), layer=2, idf=idf, baseline=file if rescaled else None),
    )
    scores = ours.rescaled if rescaled else ours.raw
    assert scores is not None
    for mine, other in zip(scores, theirs, strict=True):
        assert [mine.precision, mine.recall, mine.f1] == pytest.approx(other, abs=2e-6)
    assert ours.name == name
    assert ours.cut == 1
    assert (ours.rescaled is None) == (not rescaled)


def test_the_same_text_scores_one_and_an_empty_one_nothing(model: Path) -> None:
    """The package itself fails on an empty text with transformers 5."""
    settings = BertScoreSettings(str(model), layer=2)
    found = bert_scores(["Use vinegar.", " ", "x"], ["Use vinegar.", "Use vinegar.", ""], settings)
    assert [one.f1 for one in found.raw] == pytest.approx([1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": None}, "needs the layer"),
        ({"layer": 9}, "has no layer 9"),
        ({"model": "nowhere/at-all-0"}, "Cannot load"),
    ],
)
def test_a_model_that_cannot_be_used_is_named(
    model: Path, change: dict[str, Any], said: str
) -> None:
    settings = BertScoreSettings(**{"model": str(model), "layer": 2, **change})
    with pytest.raises(BadInput, match=said):
        bert_scores(SAID, EXPECTED, settings)


@pytest.mark.parametrize("table", ["", "LAYER,P\n2,1\n", "LAYER,P,R,F\n1,.1,.1,.1\n"])
def test_a_baseline_that_does_not_fit_is_named(model: Path, tmp_path: Path, table: str) -> None:
    file = tmp_path / "baseline.tsv"
    file.write_text(table, encoding="utf-8")
    with pytest.raises(BadInput, match="baseline"):
        bert_scores(SAID, EXPECTED, BertScoreSettings(str(model), layer=2, baseline=file))


@pytest.mark.parametrize("spaced", [True, False])
def test_roberta_sees_the_space_before_the_first_word(tmp_path: Path, spaced: bool) -> None:
    """Which the package asks for and transformers 5 gives only where the tokenizer has it set."""
    model = _roberta(tmp_path, spaced=spaced)
    ours = bert_scores(SAID, EXPECTED, BertScoreSettings(str(model), layer=2))
    assert ours.name.endswith("_prefix-space")
    RobertaTokenizer.from_pretrained(model, add_prefix_space=True).save_pretrained(model)
    theirs, _ = _theirs(model)
    for mine, other in zip(ours.raw, theirs, strict=True):
        assert [mine.precision, mine.recall, mine.f1] == pytest.approx(other, abs=2e-6)
