"""Tokenizers whose every token is one word, for models of random weights: token 7 is `w7`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def word_level(special: Sequence[str], unknown: str, size: int) -> "Tokenizer":
    """`size` tokens, the special ones first; a space ends a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*special, *(f"w{number}" for number in range(len(special), size))]
    numbered = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(numbered, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def save(made: "Tokenizer", folder: Path, **told: str) -> None:
    """As transformers reads it; `told` names the special tokens, and a chat template."""
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=made, **told).save_pretrained(folder)
