"""What a teacher is asked, and how its replies are read: strictly, by a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from adapters.prompt import Message
from adapters.rows.example import Example
from adapters.rows.likeness import alike
from adapters.rows.teaching.endpoint import Unusable

Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
_FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHORT: Final = 3  # words: as labels are


class Reply(BaseModel):
    """What is sent as a JSON schema, and read by the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Answered(Reply):
    """A teacher's answer to a question."""

    answer: Filled


class Pair(Reply):
    """A question that a text answers, with its answer."""

    question: Filled
    answer: Filled


class Verdict(Reply):
    """What a judge thinks of a row."""

    fit: bool
    reason: str


R = TypeVar("R", bound=Reply)


def parsed(text: str, kind: type[R]) -> R:
    """Unusable names the field that is wrong; a fence around the JSON does no harm."""
    fenced = _FENCE.fullmatch(text)
    try:
        return kind.model_validate_json(fenced[1] if fenced else text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the reply"
        raise Unusable(f"{where}: {first['msg']}", "schema") from error


def schema_of(kind: type[Reply], labels: Sequence[str] = ()) -> dict[str, Any]:
    """As strict endpoints want it: every field required, no other; labels as the only answers."""
    kinds = {str: "string", bool: "boolean"}
    fields: dict[str, Any] = {
        name: {"type": next(word for one, word in kinds.items() if one in _types(field.annotation))}
        for name, field in kind.model_fields.items()
    }
    if labels and "answer" in fields:
        fields["answer"]["enum"] = list(labels)
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _types(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))


def to_answer(example: Example, labels: Sequence[str], like: Sequence[Example]) -> list[Message]:
    """A question, with solved ones for the tone, and all of its conversation."""
    told = 'Answer the last question. Reply with one JSON object: {"answer": "..."}.'
    if labels:
        told += f" The answer is one of these, letter by letter: {json.dumps(list(labels))}."
    return [_system(told + _shown(like)), *(t for t in example.turns if t["role"] != "system")]


def to_write(text: str, like: Sequence[Example]) -> list[Message]:
    """A text to make an example from."""
    told = (
        "Write one question that a reader of the text may have and that the text answers, without"
        " naming the text, and its answer from the text alone. Reply with one JSON object:"
        ' {"question": "...", "answer": "..."}.'
    )
    return [_system(told + _shown(like)), {"role": "user", "content": text}]


def to_answer_from(text: str, question: str) -> list[Message]:
    """The same question again, to see whether the text gives the same answer."""
    told = (
        "Answer the question from the text alone. Reply with one JSON object:"
        ' {"answer": "..."}. If the text does not say, the answer is "not said".'
    )
    return [_system(told), {"role": "user", "content": f"{text}\n\nQuestion: {question}"}]


def to_judge(question: str, answer: str, source: str) -> list[Message]:
    """Is a row fit to be learned from?"""
    told = (
        "Judge whether the answer is right, complete and to the point"
        f"{', and says nothing that the source does not' if source else ''}. Reply with one JSON"
        ' object: {"fit": true or false, "reason": "..."}.'
    )
    shown = f"Source: {source}\n\n" if source else ""
    return [_system(told), {"role": "user", "content": f"{shown}Q: {question}\n\nA: {answer}"}]


def agree(one: str, other: str, least: float) -> bool:
    """Do two answers say the same? Short ones must be equal, others alike with equal numbers."""
    if min(len(one.split()), len(other.split())) <= _SHORT:
        return alike(one, other, 1.0)
    return alike(one, other, least) and set(_NUMBER.findall(one)) == set(_NUMBER.findall(other))


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _shown(like: Sequence[Example]) -> str:
    """Examples of what is wanted, as JSON."""
    rows = [
        json.dumps({"question": o.question, "answer": o.answer}, ensure_ascii=False) for o in like
    ]
    return "\nExamples of the tone and length:\n" + "\n".join(rows) if rows else ""
