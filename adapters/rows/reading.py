"""Files of examples to examples: chat, question and answer, preferences, plain text.

JSON lines say by their keys what they are. What is wrong with a row is said with its line; the
other rows are read all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from adapters.prompt import Message
from adapters.rows.example import Example, Fault
from indexer.errors import BadInput

# Question and answer, by the names that public sets use; the first pair that a row has is taken.
PAIRS: Final = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("text", "label"),
)
_ASKING: Final = ("question", "prompt", "query", "instruction", "input", "text")
Parse = Callable[[str, Mapping[str, Any]], Example]
_SHAREGPT: Final = {"system": "system", "human": "user", "gpt": "assistant"}
_ROLES: Final = ("system", "user", "assistant")
_LONGEST: Final = 4_000_000
_FORMS: Final = "Known: `messages`; `prompt` with `chosen` and `rejected`; `text`; " + "; ".join(
    f"`{question}` with `{answer}`" for question, answer in PAIRS
)


class _Wrong(Exception):
    """What is wrong with one row: a kind and a reason."""


def read_examples(path: Path, parse: Parse | None = None) -> Iterator[Example | Fault]:
    """Read one file, .jsonl or .txt or .md; BadInput if it cannot be read at all.

    `parse` makes an example of a row, in place of what reads rows to learn from.
    """
    if path.suffix in (".txt", ".md"):
        yield _plain(path)
        return
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _example(f"{path.name}:{number}", line, parse or _from_row)
    except OSError as error:
        raise BadInput(f"Cannot read {path} ({error.strerror})", "Check the path") from error


def read_questions(path: Path) -> Iterator[Example | Fault]:
    """What an evaluation set asks; its rows may have no answer, or one that is no text.

    BadInput if there is none at all: a check against nothing would find nothing.
    """
    found = 0
    first: Fault | None = None
    for one in read_examples(path, _question_of):
        found += isinstance(one, Example)
        first = first or (one if isinstance(one, Fault) else None)
        yield one
    if not found:
        why = f" ({first.place}: {first.reason})" if first else ""
        raise BadInput(f"{path} holds no question to check against{why}", "Name another file")


def _question_of(place: str, row: Mapping[str, Any]) -> Example:
    try:
        return _from_row(place, row)
    except _Wrong:
        messages = row.get("messages")
        if messages:
            return Example(place, "chat", tuple(_turns(messages)), "")
        for name in _ASKING:
            if isinstance(row.get(name), str):
                return Example(place, "chat", _asked(row, name), "")
        raise


def _plain(path: Path) -> Example | Fault:
    try:
        text = path.read_text("utf-8").strip()
    except OSError as error:
        raise BadInput(f"Cannot read {path} ({error.strerror})", "Check the path") from error
    except UnicodeDecodeError as error:
        return Fault(path.name, "encoding", f"not UTF-8 at byte {error.start}")
    return Example(path.name, "text", (), text)


def _example(place: str, line: bytes, parse: Parse) -> Example | Fault:
    try:
        return parse(place, _row(line))
    except _Wrong as wrong:
        return Fault(place, *wrong.args)


def _row(line: bytes) -> Mapping[str, Any]:
    if len(line) > _LONGEST:
        raise _Wrong("too long", f"{len(line)} bytes in one line; {_LONGEST} may be")
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _Wrong("encoding", f"not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise _Wrong("json", f"no JSON ({error})") from error
    if not isinstance(row, dict):
        raise _Wrong("form", f"a JSON {type(row).__name__}, not an object")
    return row


def _from_row(place: str, row: Mapping[str, Any]) -> Example:
    said = _said(place, row)
    return replace(
        said,
        passages=_passages(row.get("passages", [])),
        id=str(row.get("id", "")),
        group=str(row.get("group", "")),
        synthetic=row.get("synthetic") is True,
    )


def _said(place: str, row: Mapping[str, Any]) -> Example:
    if "chosen" in row and "rejected" in row:
        return Example(place, "preference", *_preference(row))
    if "messages" in row or "conversations" in row:
        *turns, last = _turns(row.get("messages", row.get("conversations")))
        if last["role"] != "assistant":
            raise _Wrong("form", "the last message is not the assistant's")
        return Example(place, "chat", tuple(turns), last["content"])
    for question, answer in PAIRS:
        if question in row and answer in row:
            return Example(place, "chat", _asked(row, question), _text(row, answer))
    if "text" in row:
        return Example(place, "text", (), _text(row, "text"))
    raise _Wrong("form", f"keys {', '.join(sorted(map(str, row)))[:80] or 'none'}. {_FORMS}")


def _asked(row: Mapping[str, Any], question: str) -> tuple[Message, ...]:
    """The question as a turn; the inputs of Alpaca's instructions stand below them."""
    asked = _text(row, question)
    if question == "instruction" and row.get("input"):
        asked += "\n\n" + _text(row, "input")
    return ({"role": "user", "content": asked},)


def _preference(row: Mapping[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """TRL's form: a prompt and two answers, or two conversations that begin alike."""
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if isinstance(prompt, str):
        turns: list[Message] = [{"role": "user", "content": prompt}]
    else:
        turns = _turns(prompt) if prompt else []
    if isinstance(chosen, str) and isinstance(rejected, str):
        return tuple(turns), chosen, rejected
    *before, better = _turns(chosen)
    *begun, worse = _turns(rejected)
    if before != begun:
        raise _Wrong("form", "`chosen` and `rejected` do not answer the same")
    return (*turns, *before), better["content"], worse["content"]


def _turns(messages: Any) -> list[Message]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise _Wrong("form", "messages are no list, or an empty one")
    return [_turn(at, message) for at, message in enumerate(messages)]


def _turn(at: int, message: Any) -> Message:
    if not isinstance(message, dict):
        raise _Wrong("form", f"message {at} is no object")
    role = message.get("role", _SHAREGPT.get(str(message.get("from"))))
    content = message.get("content", message.get("value"))
    if role not in _ROLES:
        raise _Wrong("role", f"message {at} has the role {role!r}; known: {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise _Wrong("form", f"message {at} has no text as its content")
    return {"role": role, "content": content}


def _text(row: Mapping[str, Any], name: str) -> str:
    if isinstance(row[name], str):
        return str(row[name])
    raise _Wrong("form", f"`{name}` is {type(row[name]).__name__}, not text")


def _passages(value: Any) -> tuple[tuple[str, ...], ...]:
    if isinstance(value, list) and all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in value
    ):
        return tuple(tuple(texts) for texts in value)
    raise _Wrong("form", "`passages` are no lists of sentences")
