"""One example that an adapter may learn from, whatever form it came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from adapters.prompt import Message

Kind: TypeAlias = Literal["chat", "preference", "text"]


@dataclass(frozen=True, slots=True)
class Example:
    """`turns` end with the question, `answer` is learned; a text has no turns.

    `worse` is the answer that a preference turns down. `group` is what must not be torn apart by a
    split; `place` is file:line.
    """

    place: str
    kind: Kind
    turns: tuple[Message, ...]
    answer: str
    worse: str = ""
    passages: tuple[tuple[str, ...], ...] = ()
    id: str = ""
    group: str = ""
    synthetic: bool = False

    @property
    def question(self) -> str:
        """The last thing asked; "" for a text."""
        return self.turns[-1]["content"] if self.turns else ""

    @property
    def whole(self) -> str:
        """Everything that is said, as one text."""
        said = [turn["content"] for turn in self.turns]
        return "\n".join([*said, self.answer, *([self.worse] if self.worse else [])])

    @property
    def digest(self) -> str:
        """Names the example by what it says, not by where it stands."""
        content = [self.kind, list(self.turns), self.answer, self.worse, self.passages]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def row(self) -> Mapping[str, Any]:
        """As it is written for training; what it has none of is left out."""
        answer = {"role": "assistant", "content": self.answer}
        if self.kind == "text":
            said: dict[str, Any] = {"text": self.answer}
        elif self.kind == "preference":
            worse = {"role": "assistant", "content": self.worse}
            said = {"prompt": list(self.turns), "chosen": [answer], "rejected": [worse]}
        else:
            said = {"messages": [*self.turns, answer]}
        optional = {
            "passages": self.passages,
            "id": self.id,
            "group": self.group,
            "synthetic": self.synthetic,
        }
        return {**said, **{name: value for name, value in optional.items() if value}}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an example is left out: `kind` to count by, `reason` to read."""

    place: str
    kind: str
    reason: str
