"""Counts tokens as the engine will: with the base's own tokenizer and chat template."""

import math
import re
from functools import lru_cache
from typing import Any, Protocol

CACHED_TEXTS = 65_536
LONGEST_CACHED = 1_000


class Tokens(Protocol):
    """How texts are counted for one base; `per_message`: what each message costs besides."""

    @property
    def per_message(self) -> int: ...
    def count(self, text: str) -> int: ...
    def control_token(self, text: str) -> str | None: ...
    def template_names(self, name: str) -> bool: ...


class ByteCounter:
    """For an external model, whose tokenizer is not here: never fewer than there are.

    A token stands for one byte at least, so with `bytes_per_token` = 1 the count is a bound; more
    is its user's own estimate.
    """

    per_message = 16  # a role and its marks: four in the templates that are published

    def __init__(self, bytes_per_token: float) -> None:
        self._bytes = bytes_per_token

    def count(self, text: str) -> int:
        return math.ceil(len(text.encode()) / self._bytes)

    def control_token(self, text: str) -> str | None:
        """Not known; whoever runs it keeps control tokens out of messages."""
        return None

    def template_names(self, name: str) -> bool:
        """No template is ours to fill in; how hard to reason is a field of OpenAI's."""
        return name == "reasoning_effort"


class TokenCounter:
    """`count(text)` in tokens; `per_message`: what the chat template adds to each message."""

    def __init__(self, base: str) -> None:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self._tokenizer = tokenizer
        self._cached = lru_cache(CACHED_TEXTS)(self._count)
        # A turn's marks are control tokens also where no role of the tokenizer names them.
        added = (one.content for one in tokenizer.added_tokens_decoder.values() if one.special)
        special = sorted({*tokenizer.all_special_tokens, *added}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self.per_message = self._overhead()

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
            turns, add_generation_prompt=True, tokenize=False
        )
        rendered: int = self._count(whole)
        return -(-(rendered - len(turns) * self._count("a")) // len(turns)) + 1
