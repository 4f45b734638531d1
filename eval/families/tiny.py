"""A tiny base of a family, with random weights, written as its makers write theirs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from eval.families.shapes import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL: Final = (
    "<pad>", "<s>", "<|end|>", "<|head|>", "<|/head|>", "<|system|>", "<|user|>", "<|assistant|>",
    "<think>", "</think>",
)  # fmt: skip
LINES: Final = (
    "Which day comes after Monday? Tuesday comes after Monday.",
    "The office opens at nine and closes at five. When does the office open?",
    "Thank you for your message. Please send us the number of your order.",
    "How do I clean the machine? Rinse the filter under cold water twice a week.",
)
WORDS: Final = 400
CONTEXT: Final = 512
# Large enough that what a few steps teach is seen above bf16's rounding.
SPREAD: Final = 0.1


def build(shape: Shape, folder: Path) -> Path:
    """The folder holds config, weights, tokenizer and template; the same on every run."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = _tokenizer(shape.template)
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(
        shape.kind,
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": CONTEXT,
            "initializer_range": SPREAD,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **shape.changes,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def _tokenizer(template: str) -> PreTrainedTokenizerBase:
    """Byte-level BPE, as most of these families have it, learned on four lines."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<|end|>",
        chat_template=template,
    )
