"""Counts tokens as the engine will: with the base's own tokenizer and chat template.

What is composed for training and what is composed when serving is cut to fit by the same counts.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from adapters.templates import takes_system

CACHED_TEXTS: Final = 65_536
LONGEST_CACHED: Final = 1_000


class TokenCounter:
    """`count(text)` in tokens; `per_message`: what the chat template adds to each message.

    `takes_system`: whether that template knows system messages.
    """

    def __init__(self, base: str) -> None:
        tokenizer = load_tokenizer(base)
        self._tokenizer = tokenizer
        self._cached = lru_cache(CACHED_TEXTS)(self._count)
        # A turn's marks are control tokens also where no role of the tokenizer names them.
        added = (one.content for one in tokenizer.added_tokens_decoder.values() if one.special)
        special = sorted({*tokenizer.all_special_tokens, *added}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self.per_message = self._overhead()
        self.takes_system = takes_system(tokenizer)

    def count(self, text: str) -> int:
        """Tokens of `text` alone. Sentences come again and again; long texts are not kept."""
        return self._cached(text) if len(text) <= LONGEST_CACHED else self._count(text)

    def control_token(self, text: str) -> str | None:
        """The first of the base's control tokens in `text`: it could forge a turn."""
        found = self._special.search(text)
        return found[0] if found else None

    def template_names(self, name: str) -> bool:
        """Does the base's chat template look at this argument?"""
        template = self._tokenizer.chat_template
        return name in (template if isinstance(template, str) else str(template))

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _overhead(self) -> int:
        """The most that one message costs beyond its text, the start of the answer included."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
        turns.append({"role": "user", "content": "a"})
        whole = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        rendered: int = self._count(whole)
        return -(-(rendered - len(turns) * self._count("a")) // len(turns)) + 1


def load_tokenizer(base: str) -> Any:
    """What AutoTokenizer gives, without its import of five seconds where its choice is foreseen."""
    if _is_plain(Path(base)):
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(base)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def _is_plain(base: Path) -> bool:
    """For a Llama of one of these classes AutoTokenizer takes tokenizer.json as it stands."""
    files = [base / name for name in ("config.json", "tokenizer_config.json", "tokenizer.json")]
    if not all(file.is_file() for file in files):
        return False
    kind, tokens = (json.loads(file.read_text("utf-8")) for file in files[:2])
    plain = tokens.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return plain and kind.get("model_type") == "llama" and "auto_map" not in tokens
