"""Tokens a second of embedding models of published shapes, against what the processor multiplies.

Their weights are random: speed does not depend on them. A model runs as in a job, from texts to
unit vectors; the peak is a product of two square matrices in the same number format, as torch
does it on the same device, measured in turns with the model.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from eval.bench.word_level import save, word_level
from eval.report import Grid
from eval.stats import Spread
from indexer.domain import EmbedderSettings
from indexer.embedding.embedder import Embedder
from indexer.errors import BadInput

_TOKENS: Final = 30_000
_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_TURN_SECONDS: Final = 1.0
_SIDES: Final = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """`width` of a token's vector, `wide` of the feed-forward; `is_t5`: GTR's, else BERT's."""

    width: int
    layers: int
    heads: int
    is_t5: bool = False

    @property
    def wide(self) -> int:
        return 4 * self.width

    def operations(self, length: int) -> int:
        """For one token of a text so long: two for each weight of the layers and the dense one,
        and four times its width for each token that it attends to."""
        weights = self.layers * (4 * self.width**2 + 2 * self.width * self.wide)
        dense = self.width**2 if self.is_t5 else 0
        return 2 * weights + 2 * dense // length + 4 * length * self.width * self.layers


# BAAI/bge-*-en-v1.5, sentence-transformers/gtr-t5-base and all-MiniLM-L6-v2, by their config.json.
SHAPES: Final = {
    "minilm": EncoderShape(384, 6, 12),
    "bge-small": EncoderShape(384, 12, 12),
    "bge-base": EncoderShape(768, 12, 12),
    "bge-large": EncoderShape(1024, 24, 16),
    "gtr-base": EncoderShape(768, 12, 12, is_t5=True),
}


@dataclass(slots=True)
class Encoded:
    """One shape with texts of one length; rates in tokens, and in operations, a second."""

    name: str
    length: int
    device: str
    dtype: str
    operations: int
    rates: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the peak, of the medians."""
        return statistics.median(self.rates) * self.operations / statistics.median(self.peaks)


def measure(
    names: Sequence[str],
    lengths: Sequence[int],
    texts: int,
    rounds: int,
    folder: Path,
    say: Callable[[str], None],
) -> list[Encoded]:
    """Each shape with texts of each length; the model and the peak take turns."""
    found = []
    for name in names:
        shape = shape_of(name)
        model = write(shape, folder / name, max(lengths))
        embedder = Embedder(EmbedderSettings.model_validate({"name": str(model)}))
        for length in lengths:
            say(f"{name}, texts of {length} tokens, on {embedder.device}")
            one = Encoded(name, length, embedder.device, embedder.dtype, shape.operations(length))
            _measure(one, embedder, texts, rounds)
            found.append(one)
    return found


def shape_of(name: str) -> EncoderShape:
    """BadInput names those there are."""
    if name not in SHAPES:
        raise BadInput(f"There is no shape {name!r}", f"Known: {', '.join(SHAPES)}")
    return SHAPES[name]


def grid(found: Sequence[Encoded]) -> Grid:
    """Rates, and the share of the peak."""
    head = ("shape", "tokens a text", "device", "format", "tokens/s", "TFLOP/s", "peak", "share")
    rows = tuple(
        (
            one.name,
            str(one.length),
            one.device,
            one.dtype,
            Spread.of(one.rates).show(0),
            f"{statistics.median(one.rates) * one.operations / 1e12:.3f}",
            f"{statistics.median(one.peaks) / 1e12:.3f}",
            f"{one.share:.2f}",
        )
        for one in found
    )
    return Grid("Embedding models of random weights, from texts to unit vectors", head, rows)


def write(shape: EncoderShape, folder: Path, longest: int) -> Path:
    """As sentence-transformers saves it: network, tokenizer, pooling, for GTR a dense layer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        Transformer,
    )

    network(shape, longest).save_pretrained(folder / "network")
    _write_tokenizer(folder / "network")
    encoder = Transformer(str(folder / "network"), max_seq_length=longest)
    parts: list[Any] = [encoder, Pooling(shape.width, "mean" if shape.is_t5 else "cls")]
    if shape.is_t5:
        parts.append(
            Dense(shape.width, shape.width, bias=False, activation_function=torch.nn.Identity())
        )
    whole = SentenceTransformer(modules=[*parts, Normalize()], device="cpu")
    whole.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def network(shape: EncoderShape, longest: int) -> Any:
    """By transformers, with its random weights."""
    from transformers import BertConfig, BertModel, T5Config, T5EncoderModel

    if shape.is_t5:
        return T5EncoderModel(
            T5Config(
                vocab_size=_TOKENS,
                d_model=shape.width,
                d_kv=shape.width // shape.heads,
                d_ff=shape.wide,
                num_layers=shape.layers,
                num_heads=shape.heads,
            )
        )
    return BertModel(
        BertConfig(
            vocab_size=_TOKENS,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.wide,
            max_position_embeddings=longest,
        )
    )


def _write_tokenizer(folder: Path) -> None:
    """A text has two tokens more than words, at its ends."""
    from tokenizers.processors import TemplateProcessing

    made = word_level(_SPECIAL, "[UNK]", _TOKENS)
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    save(made, folder, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]")


def _measure(one: Encoded, embedder: Embedder, texts: int, rounds: int) -> None:
    """The first turn of both only warms up."""
    for turn in range(rounds + 1):
        rows = [_text(one.length, turn * texts + number) for number in range(texts)]
        began = time.perf_counter()
        embedder.embed_symmetric(rows)
        took = time.perf_counter() - began
        peak = multiplied(one.device, one.dtype)
        if turn:
            one.rates.append(texts * one.length / took)
            one.peaks.append(peak)


def _text(length: int, number: int) -> str:
    first, words = len(_SPECIAL), _TOKENS - len(_SPECIAL)
    return " ".join(f"w{first + (number * 7919 + at) % words}" for at in range(length - 2))


def multiplied(device: str, dtype: str, seconds: float = _TURN_SECONDS) -> float:
    """Operations a second of a product of two square matrices, on all cores."""
    from indexer.cores import cores

    side, before = _SIDES[device], torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        left = torch.rand(side, side, device=device).to(_TYPES.get(dtype, torch.float32))
        _wait(device, left @ left)
        began, times = time.perf_counter(), 0
        while (took := time.perf_counter() - began) < seconds:
            _wait(device, left @ left)
            times += 1
    finally:
        torch.set_num_threads(before)
    return times * 2 * side**3 / took


def _wait(device: str, _: torch.Tensor) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
