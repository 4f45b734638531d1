"""Counts tokens as the engine will: with the base's own tokenizer and chat template."""

from functools import lru_cache
from typing import Any

CACHED_TEXTS = 65_536


class TokenCounter:
    """`count(text)` in tokens; `per_message`: what the chat template adds to each message."""

    def __init__(self, base: str) -> None:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self._tokenizer = tokenizer
        self.count = lru_cache(CACHED_TEXTS)(self._count)
        self.per_message = self._overhead()

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
