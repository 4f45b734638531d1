"""Conditions on the fields of documents: what a request may ask, and which rows satisfy it.

`{"team": "rail", "year": {"gte": 2020}}`: every condition must hold. A value, any of a list of
values, or a range; text is compared as text, numbers as numbers, yes and no as themselves.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from indexer.errors import BadInput
from indexer.records import Value

Scalar: TypeAlias = Value
Read: TypeAlias = Callable[..., list[tuple[Any, ...]]]

RANGES = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_MOST_VALUES = 256
_LARGEST = 2**63
_EXAMPLE = 'Write {"field": value}, {"field": [value, ...]} or {"field": {"gte": value}}'
_YES_OR_NO = "text IN ('true', 'false')"
# The names, each found by one step in the index: reading every field would take seconds.
_NAMES = """
WITH RECURSIVE known(name) AS (
    SELECT min(name) FROM fields
    UNION ALL SELECT (SELECT min(name) FROM fields WHERE name > known.name) FROM known
    WHERE known.name IS NOT NULL)
SELECT name FROM known WHERE name IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """On one field: it equals one of `values`, or lies in all of `ranges` (operator, bound)."""

    name: str
    values: tuple[Scalar, ...] = ()
    ranges: tuple[tuple[str, Scalar], ...] = ()

    def sql(self) -> tuple[str, list[Scalar]]:
        """What holds for a row of the table of fields, and the values in it."""
        parts = [_equals(value) for value in self.values]
        joined = " OR ".join(part for part, _ in parts)
        if self.ranges:
            parts = [_within(operator, bound) for operator, bound in self.ranges]
            joined = " AND ".join(part for part, _ in parts)
        given = [value for _, value in parts]
        return f"name = ? AND ({joined})", [self.name, *given]


@dataclass(frozen=True, slots=True)
class Filter:
    """All of these must hold."""

    conditions: tuple[Condition, ...]

    def documents(self) -> tuple[str, list[Scalar]]:
        """A query for the paths of the documents, and its values."""
        parts = [condition.sql() for condition in self.conditions]
        query = " INTERSECT ".join(f"SELECT document FROM fields WHERE {sql}" for sql, _ in parts)
        return query, [value for _, values in parts for value in values]

    def check(self, read: Read) -> None:
        """BadInput if a field is unknown, or holds nothing of the kind that is asked for."""
        known = [name for (name,) in read(_NAMES)]
        for condition in self.conditions:
            if condition.name not in known:
                raise BadInput(f"No document has a field {condition.name!r}", _listed(known))
            for value in (*condition.values, *(bound for _, bound in condition.ranges)):
                _check_kind(read, condition, value)


def parse_filter(given: Mapping[str, Any]) -> Filter | None:
    """BadInput, naming the field, unless it is a filter as above; None for an empty one."""
    conditions = tuple(_condition(name, wanted) for name, wanted in sorted(given.items()))
    return Filter(conditions) if conditions else None


def _condition(name: str, wanted: Any) -> Condition:
    if isinstance(wanted, dict):
        return Condition(name, ranges=tuple(_range(name, *item) for item in _some(name, wanted)))
    values = _some(name, wanted) if isinstance(wanted, list) else [wanted]
    return Condition(name, values=tuple(_scalar(name, value) for value in values))


def _some(name: str, wanted: dict[str, Any] | list[Any]) -> list[Any]:
    if not 0 < len(wanted) <= _MOST_VALUES:
        raise BadInput(
            f"The filter on {name!r} has {len(wanted)} values", f"Give 1 to {_MOST_VALUES}"
        )
    return sorted(wanted.items()) if isinstance(wanted, dict) else wanted


def _range(name: str, operator: str, bound: Any) -> tuple[str, Scalar]:
    if operator not in RANGES:
        raise BadInput(
            f"The filter on {name!r} has an unknown comparison {operator!r}",
            f"Known: {', '.join(RANGES)}",
        )
    if isinstance(bound, bool):
        raise BadInput(f"The filter on {name!r} compares with yes or no", _EXAMPLE)
    return operator, _scalar(name, bound)


def _scalar(name: str, value: Any) -> Scalar:
    """As SQLite takes it: no halves of surrogate pairs, no integer of more than 64 bits."""
    if isinstance(value, bool):
        return value
    try:
        if isinstance(value, str):
            value.encode()
            return value
        if isinstance(value, int | float):
            return value if abs(value) < _LARGEST else float(value)
    except (UnicodeEncodeError, OverflowError):
        pass
    raise BadInput(f"The filter on {name!r} has the value {str(value)[:80]!r}", _EXAMPLE)


def _equals(value: Scalar) -> tuple[str, Scalar]:
    if isinstance(value, bool):
        return "number IS NOT NULL AND text = ?", "true" if value else "false"
    if isinstance(value, str):
        return "text = ?", value
    return f"number = ? AND NOT {_YES_OR_NO}", value


def _within(operator: str, bound: Scalar) -> tuple[str, Scalar]:
    if isinstance(bound, str):
        return f"number IS NULL AND text {RANGES[operator]} ?", bound
    return f"number {RANGES[operator]} ? AND NOT {_YES_OR_NO}", bound


def _check_kind(read: Read, condition: Condition, value: Scalar) -> None:
    kinds = {
        "text": "number IS NULL",
        "numbers": f"number IS NOT NULL AND NOT {_YES_OR_NO}",
        "yes or no": f"number IS NOT NULL AND {_YES_OR_NO}",
    }
    wanted = "text"
    if isinstance(value, bool):
        wanted = "yes or no"
    elif not isinstance(value, str):
        wanted = "numbers"
    elif not condition.ranges:
        return  # any value has a text that can be asked for
    query = "SELECT EXISTS (SELECT 1 FROM fields WHERE name = ? AND {})"
    held = [
        kind for kind, sql in kinds.items() if read(query.format(sql), condition.name) == [(1,)]
    ]
    if wanted not in held:
        raise BadInput(
            f"The field {condition.name!r} holds {' and '.join(held)}, and {value!r} is neither"
            if len(held) > 1
            else f"The field {condition.name!r} holds {held[0]}, and {value!r} is not",
            "Compare text with text and numbers with numbers",
        )


def _listed(known: Iterable[str]) -> str:
    names = list(known)
    if not names:
        return "No document of this domain has any field: filters cannot be used"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Known fields: {', '.join(names[:20])}{more}"
