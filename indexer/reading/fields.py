"""What a source states about itself, as typed values that can be filtered by."""

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from indexer.reading.layout import clean
from indexer.records import Value

_LONGEST = 500
_MOST = 64
_NAME = re.compile(r"[\s/]+")
_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?")


def to_fields(stated: Mapping[Any, Any], without: Iterable[str] = ()) -> dict[str, Value]:
    """Scalars by name; objects by dotted names, lists of scalars as one text, dates as ISO 8601.

    What is no value of a field is left out: nothing, a long text, a list of objects.
    """
    found: dict[str, Value] = {}
    skipped = set(without)
    pending = [(str(name), value) for name, value in reversed(list(stated.items()))]
    while pending and len(found) < _MOST:
        name, value = pending.pop()
        if name in skipped:
            continue
        if isinstance(value, Mapping):
            if name.count(".") < 3:
                inner = reversed(list(value.items()))
                pending.extend((f"{name}.{key}", one) for key, one in inner)
            continue
        scalar = to_value(value)
        if scalar is not None:
            found[_NAME.sub("_", clean(name))[:64].lower()] = scalar
    found.pop("", None)
    return found


def to_value(value: Any) -> Value | None:
    """None where this is no value of a field."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)[:_LONGEST]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)) and not any(isinstance(v, (list, dict)) for v in value):
        value = ", ".join(str(one) for one in value if one is not None)
    if isinstance(value, str):
        text = clean(value)
        return text if 0 < len(text) <= _LONGEST else None
    return None


def pdf_date(text: str) -> str:
    """ISO 8601 as far as "D:20240503101500+02'00'" goes; "" where it is no such date."""
    match = _PDF_DATE.match(text)
    if match is None:
        return ""
    year, month, day, *clock = match.groups()
    date = "-".join(part for part in (year, month, day) if part)
    return f"{date}T{':'.join(clock)}" if all(clock) and day else date
