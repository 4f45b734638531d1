"""Counts tokens as the engine will: with the base's own tokenizer and chat template."""

import math
from typing import Protocol

from adapters.counting import TokenCounter as TokenCounter


class Tokens(Protocol):
    """How texts are counted for one base; `per_message`: what each message costs besides.

    `takes_system`: whether its template knows system messages.
    """

    @property
    def per_message(self) -> int: ...
    @property
    def takes_system(self) -> bool: ...
    def count(self, text: str) -> int: ...
    def control_token(self, text: str) -> str | None: ...
    def template_names(self, name: str) -> bool: ...


class ByteCounter:
    """For an external model, whose tokenizer is not here: never fewer than there are.

    A token stands for one byte at least, so with `bytes_per_token` = 1 the count is a bound; more
    is its user's own estimate.
    """

    per_message = 16  # a role and its marks: four in the templates that are published
    takes_system = True  # OpenAI's API does

    def __init__(self, bytes_per_token: float) -> None:
        self._bytes = bytes_per_token

    def count(self, text: str) -> int:
        return math.ceil(len(text.encode()) / self._bytes)

    def control_token(self, text: str) -> str | None:
        """Not known; whoever runs it keeps control tokens out of messages."""
        return None

    def template_names(self, name: str) -> bool:
        """No template is ours to fill in; these are fields of OpenAI's."""
        return name in ("reasoning_effort", "tools")
