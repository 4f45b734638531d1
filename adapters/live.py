"""LIVE, the number of the release that answers, and HISTORY, those that answered before it.

Both are replaced by rename. Between the two writes of a change a crash may leave HISTORY ending
with what is live; readers pass over that, so no crash loses the way back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from indexer.errors import StoreError
from indexer.settings import Paths, store_errors, write_atomically

_HISTORY: Final[TypeAdapter[list[int]]] = TypeAdapter(list[int])


class LivePointer:
    """One domain's pointer; who changes it must hold the domain's lock."""

    def __init__(self, paths: Paths, domain: str) -> None:
        self._domain = domain
        self._live = paths.live(domain)
        self._history = self._live.with_name("HISTORY")

    def number(self) -> int | None:
        """The live release's number, None before the first."""
        if not self._live.exists():
            return None
        with store_errors(self._live):
            content = self._live.read_bytes().strip()
        if not content.isdigit():
            raise StoreError(f"{self._live} holds {content!r}", "Activate a release by its number")
        return int(content)

    def before(self) -> list[int]:
        """What answered before the live release, newest last."""
        if not self._history.exists():
            return []
        with store_errors(self._history):
            content = self._history.read_bytes()
        try:
            numbers = _HISTORY.validate_json(content)
        except ValidationError as error:
            remedy = f"Delete it; only the way back from {self._domain}'s live release is lost"
            raise StoreError(f"{self._history} is damaged", remedy) from error
        live = self.number()
        while numbers and numbers[-1] == live:
            numbers.pop()
        return numbers

    def point(self, number: int) -> None:
        """Go forward; HISTORY is written first."""
        live = self.number()
        if live == number:
            return
        if live is not None:
            self._write_history([*self.before(), live])
        self._write_live(number)

    def point_back(self, number: int) -> None:
        """Go back to `number`, the last of before(); LIVE is written first."""
        remaining = self.before()[:-1]
        self._write_live(number)
        self._write_history(remaining)

    def keep(self, numbers: Collection[int]) -> None:
        """Forget the others on the way back."""
        self._write_history([number for number in self.before() if number in numbers])

    def _write_live(self, number: int) -> None:
        write_atomically(self._live, f"{number}\n".encode())

    def _write_history(self, numbers: Sequence[int]) -> None:
        write_atomically(self._history, json.dumps(numbers).encode())
