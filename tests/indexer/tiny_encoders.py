"""Folders as sentence-transformers saves them, of the real architectures, tiny and untrained."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

_WORDS = "the kettle holds boils how big is represent this sentence for searching relevant passages"
_SIZE = 32


def write_bge(folder: Path, pooling: Any = "cls") -> Path:
    """BERT, pooled at its first token unless told otherwise."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=_write_tokenizer(folder / "hf"),
        hidden_size=_SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "hf")
    encoder = Transformer(str(folder / "hf"), max_seq_length=48)
    return _save(folder, encoder, Pooling(_SIZE, pooling_mode=pooling), Normalize())


def write_gtr(folder: Path) -> Path:
    """T5's encoder stored as fp16 like the original, mean pooling, then a linear layer."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=_write_tokenizer(folder / "hf"),
        d_model=_SIZE,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
    )
    T5EncoderModel(config).to(torch.float16).save_pretrained(folder / "hf")
    encoder = Transformer(
        str(folder / "hf"), max_seq_length=48, model_kwargs={"dtype": torch.float16}
    )
    dense = Dense(_SIZE, 24, bias=False, activation_function=torch.nn.Identity())
    return _save(folder, encoder, Pooling(_SIZE, pooling_mode="mean"), dense, Normalize())


def _save(folder: Path, *modules: torch.nn.Module) -> Path:
    SentenceTransformer(modules=list(modules), device="cpu").save(
        str(folder), create_model_card=False
    )
    return folder


def _write_tokenizer(folder: Path) -> int:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(_WORDS.split())]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )
    fast.save_pretrained(folder)
    return len(vocabulary)
