"""A body as JSON, read one way only: whatever two readers could take differently is refused.

orjson refuses most of it: NaN, numbers beyond a double, lone surrogates, what is not UTF-8, a mark
of byte order. Of a name that stands twice in an object it keeps the last in silence, where another
reader before this one may have looked at the first.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from service.errors import InvalidRequest, UnsupportedMedia

DEEPEST_JSON = 64


def check_kind(headers: Mapping[str, str]) -> None:
    """UnsupportedMedia for what announces itself as something else than plain JSON in UTF-8."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMedia(f"A body in {coding[:40]!r} is not read", "Send it uncompressed")
    kind, _, rest = headers.get("content-type", "application/json").lower().partition(";")
    charset = rest.partition("charset=")[2].partition(";")[0].strip().strip('"')
    name = kind.strip()
    if name != "application/json" and not name.endswith("+json"):
        raise UnsupportedMedia(f"A body of {name[:80]!r} is not read", "Send application/json")
    if charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMedia(f"JSON in {charset[:40]!r} is not read", "Send it in UTF-8")


def read_json(raw: bytes) -> Any:
    """InvalidRequest says what is wrong with it."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        message = f"The body is not valid JSON: {error}"
        raise InvalidRequest(message, "Send a JSON object") from error
    if (isinstance(body, dict | list) and _colons(body) != raw.count(b":")) or b"\\u003" in raw:
        json.loads(raw, object_pairs_hook=_each_name_once)
    return body


def _colons(body: dict[str, Any] | list[Any]) -> int:
    """How many colons a text of this must have, none of them escaped: one for each name, and those
    within names and strings. A name that is lost takes its colon along.

    Refuses what is deeper than any schema needs: what is written out again would break on it.
    """
    count = 0
    level: list[dict[str, Any] | list[Any]] = [body]
    for _ in range(DEEPEST_JSON):
        inner: list[dict[str, Any] | list[Any]] = []
        for one in level:
            values: Any = one
            if isinstance(one, dict):
                values = one.values()
                count += len(one) + sum(name.count(":") for name in one)
            for value in values:
                if isinstance(value, str):
                    count += value.count(":")
                elif isinstance(value, dict | list):
                    inner.append(value)
        if not inner:
            return count
        level = inner
    raise InvalidRequest(f"The body is nested deeper than {DEEPEST_JSON} levels", "Flatten it")


def _each_name_once(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise InvalidRequest(
                f"The field '{name[:80]}' stands twice in one object", "Send it once", param=name
            )
        names.add(name)
