"""Folders as sentence-transformers saves them, of the real architectures, tiny and untrained."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
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

from indexer.records import Vectors

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


def embed_directly(folder: Path, texts: list[str]) -> Vectors:
    """By transformers and arithmetic alone, text by text, in float32."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    is_bert = "bert" in (folder / "config.json").read_text(encoding="utf-8").lower()
    network = (BertModel if is_bert else T5EncoderModel).from_pretrained(
        folder, dtype=torch.float32
    )
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            tokens = network.eval()(input_ids=ids).last_hidden_state[0]
        rows.append(tokens[0] if is_bert else tokens.mean(0))
    pooled = torch.stack(rows)
    for dense in folder.glob("*_Dense/model.safetensors"):
        pooled = pooled @ load_file(dense)["linear.weight"].float().T
    found: Vectors = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    return found


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
