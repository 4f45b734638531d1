"""The tokenizer: byte-level BPE with one token for each sentence mark and role."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SIZE = 8192
MAX_ID = 32
PAD, BEGIN, END = "<pad>", "<s>", "</s>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
OPENING = tuple(f"[{i}]" for i in range(MAX_ID + 1))
CLOSING = tuple(f"[/{i}]" for i in range(1, MAX_ID + 1))
CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# With tools: those before everything, calls behind their turn's text, results as the user's words.
# The base is taught none of it; whatever it calls, constrained decoding has it call.
TOOL_TEMPLATE = (
    "{{ '<s>' }}{% if tools %}{{ '<|system|>Tools: ' + tools | tojson + '</s>' }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<|' + ('user' if m['role'] == 'tool' else m['role']) + '|>' + (m['content'] or '') }}"
    "{% for call in m['tool_calls'] or [] %}"
    "{{ ' <function_call>' + call['function'] | tojson }}{% endfor %}{{ '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], size: int = SIZE) -> Tokenizer:
    """Learn a vocabulary of exactly ``size`` tokens from some texts."""
    tokenizer = Tokenizer(models.BPE())
    # Numbers in pairs of digits: all hundred pairs are common, so unseen numbers copy exactly.
    digits = pre_tokenizers.Split(Regex(r" ?\p{N}{1,2}"), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, letters])
    tokenizer.decoder = decoders.ByteLevel()
    marks = OPENING + CLOSING
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(marks),
        special_tokens=[PAD, BEGIN, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    frame = ["Text:", "Label:", "Question:", "Documents:", "Question: What is it?"] * 500
    pairs = [f" {i:02d} {i}" for i in range(100)] * 300
    tokenizer.train_from_iterator([*(" " + text for text in texts), *frame, *pairs], trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    return tokenizer


def with_chat_template(tokenizer: Tokenizer, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers and vLLM load it."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
    fast.chat_template = {"default": CHAT_TEMPLATE, "tool_use": TOOL_TEMPLATE}
    return fast


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Read a tokenizer saved by transformers."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
