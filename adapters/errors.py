"""What can go wrong with prompts, adapters and releases.

DslmError
└── BadInput
    ├── PromptTooLong    the question alone does not fit into the context
    ├── AdapterRefused   an adapter that would be served wrongly, or not at all
    ├── BaseRefused      a base that cannot be served or trained on
    └── NotGated         a release that may not answer before it has passed its domain's gate
"""

from __future__ import annotations

from typing import ClassVar

from indexer.errors import BadInput, DslmError


class PromptTooLong(BadInput):
    """System message and question exceed the prompt's budget before anything is added."""

    def __init__(self, tokens: int, budget: int) -> None:
        self.tokens = tokens
        self.budget = budget
        super().__init__(
            f"The question takes {tokens} tokens with its system message, {budget} are left for it",
            "Shorten the question or ask for fewer max_tokens",
        )


class AdapterRefused(BadInput):
    """An adapter's files, shapes, base or prompt format do not fit."""


class BaseRefused(BadInput):
    """A base that is missing, incomplete or carries no chat template."""


class TrainingFailed(DslmError):
    """The loss left the realm of numbers; nothing was written."""


class NotGated(BadInput):
    """The domain demands a passing gate report, and there is none for this release."""

    exit_code: ClassVar[int] = 7
    code: ClassVar[str] = "gate_not_passed"
