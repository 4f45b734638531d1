"""How large a form may be that an engine has to compile before the first token.

What that takes grows with the square of an object's fields: xgrammar needs 1.6 s of a core for 500
that may be left out, and 25 s for 2,000; a pattern that repeats 10,000 times over 12 s.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import InvalidRequest

MOST_PARTS = 4000
MOST_PROPERTIES = 500
MOST_BYTES = 65_536
MOST_REPEATS = 1000
PATTERNS = frozenset({"pattern", "regex", "grammar"})
COUNT = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


def check_forms(forms: Mapping[str, Any]) -> None:
    """InvalidRequest, naming the field, if what is asked for is too large to be compiled.

    `forms`: each field's schemas and grammars, as JSON has them.
    """
    for field, form in forms.items():
        parts = size = 0
        for name, value in _parts(form):
            parts += 1
            size += len(name) + (len(value) if isinstance(value, str) else 0)
            if isinstance(value, Mapping):
                _check(field, "fields in one object", len(value), MOST_PROPERTIES)
            if isinstance(value, str) and name in PATTERNS:
                _check(field, "repeats in a pattern", _repeats(value), MOST_REPEATS)
        _check(field, "parts", parts, MOST_PARTS)
        _check(field, "characters", size, MOST_BYTES)


def _parts(form: Any) -> Iterator[tuple[str, Any]]:
    """Every value within it with its name; what stands in a list has none."""
    waiting: list[tuple[str, Any]] = [("", form)]
    while waiting:
        name, value = waiting.pop()
        yield name, value
        if isinstance(value, Mapping):
            patterns = "pattern" if name == "patternProperties" else ""
            waiting += value.items()
            waiting += [(patterns, key) for key in value if patterns]
        elif isinstance(value, list | tuple):
            waiting += [("", one) for one in value]


def _repeats(pattern: str) -> int:
    """The largest count in braces."""
    counts = (int(count[:9]) for both in COUNT.findall(pattern) for count in both if count)
    return max(counts, default=0)


def _check(field: str, what: str, found: int, most: int) -> None:
    if found > most:
        message = f"`{field}` asks for a form with {found} {what}, and at most {most} are compiled"
        raise InvalidRequest(message, "Ask for a simpler form", param=field)
