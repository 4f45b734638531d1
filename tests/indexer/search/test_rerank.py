"""A cross-encoder is loaded from a folder and scores pairs as transformers computes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from indexer.errors import BadInput
from indexer.search.rerank import load_scorer

WORDS = "[PAD] [UNK] [CLS] [SEP] the kettle hums tray toaster crumbs".split()


def _tiny(folder: Path, outputs: int = 1) -> Path:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        num_labels=outputs,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    splitter = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    splitter.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=splitter, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    return folder


def test_scores_are_the_models_own(tmp_path: Path) -> None:
    folder = _tiny(tmp_path / "cross")
    score = load_scorer(str(folder))
    texts = ["the tray", "crumbs", "the kettle hums"]
    found = score("the kettle", texts)
    network = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    expected = []
    for text in texts:
        with torch.inference_mode():
            expected.append(
                float(network(**tokenizer("the kettle", text, return_tensors="pt")).logits)
            )
    assert len(set(expected)) == 3
    order = np.argsort(expected)
    assert np.argsort(found).tolist() == order.tolist()
    plain, logistic = np.array(expected), 1 / (1 + np.exp(-np.array(expected)))
    assert np.allclose(found, plain, atol=1e-5) or np.allclose(found, logistic, atol=1e-5)


def test_what_is_no_cross_encoder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty.*cannot be loaded"):
        load_scorer(str(tmp_path / "empty"))
    with pytest.raises(BadInput, match="gives 3 numbers"):
        load_scorer(str(_tiny(tmp_path / "classes", outputs=3)))
