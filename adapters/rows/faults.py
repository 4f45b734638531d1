"""What makes an example unfit to learn from, told from its text alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from adapters.rows.example import Example, Fault

_MARKS = re.compile(r"<\|[^|<>]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?s>")
_LOST = "�"


def fault_of(example: Example) -> Fault | None:
    """The first thing that is wrong; None for an example that can be learned from."""
    for kind, reason in _faults(example):
        return Fault(example.place, kind, reason)
    return None


def _faults(example: Example) -> Iterable[tuple[str, str]]:
    if not example.answer.strip():
        yield "empty", "the answer is empty"
    if example.kind != "text":
        yield from _of_turns(example)
    if example.kind == "preference":
        if not example.worse.strip():
            yield "empty", "the rejected answer is empty"
        if example.worse.strip() == example.answer.strip():
            yield "preference", "both answers are the same"
    if _LOST in example.whole:
        yield "encoding", "holds U+FFFD: characters were lost before"
    mark = _MARKS.search(example.whole)
    if mark:
        yield "template", f"holds {mark.group()!r}, which a chat template writes, not a person"


def _of_turns(example: Example) -> Iterable[tuple[str, str]]:
    roles = [turn["role"] for turn in example.turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or talk[-1] != "user":
        yield "role", "no user's question stands before the answer"
    if talk != ["user", "assistant"] * (len(talk) // 2) + ["user"] * (len(talk) % 2):
        yield "role", f"the roles do not take turns: {', '.join(roles)}"
    if not example.question.strip():
        yield "empty", "the question is empty"
