"""Tokenizers that part text as those of BERT, T5 and GPT do, trained on a few lines."""

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

_LINES = [
    "The kettle boils in four minutes, and the toaster (a new one) is set to 3.5.",
    "Descale the kettle every month; use citric acid, e.g. Larkfield powder.",
    "A table | its cells | its rows. What costs £2.50? Nothing! It's free: naïve, isn't it?",
]


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(_LINES, trainer)
    return tokenizer


def sentencepiece() -> Tokenizer:
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    return tokenizer


def byte_level() -> Tokenizer:
    """Counts a word after a blank differently from one at the beginning."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    return tokenizer


KINDS = {"wordpiece": wordpiece(), "sentencepiece": sentencepiece(), "byte_level": byte_level()}


def count(kind: str, text: str) -> int:
    """A text's tokens by the tokenizer of that kind."""
    return len(KINDS[kind].encode(text, add_special_tokens=False))
