"""A model that others run, behind OpenAI's own API: no adapters, no health page, a key of ours."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from service.engines.engine import CHAT, Engine, Health
from service.engines.stream import EngineStream
from service.errors import EngineRejected, Overloaded, Unavailable

# Whoever runs it may count every look.
LOOK_SECONDS = 30.0


class External(Engine):
    """Chats only. `key` goes into one header, and is cut out of whatever comes back.

    `limit_field`: what that API calls the most tokens of an answer.
    """

    def __init__(
        self, url: str, read_seconds: float, called: str, key: str, limit_field: str
    ) -> None:
        super().__init__(url, read_seconds, called, bearer(key))
        self._key = key
        self._limit_field = limit_field
        self._looked = -math.inf

    async def health(self) -> Health:
        """What a look at its models told within the last half minute."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            status, _ = await self._probe("/v1/models")
            # Any answer but these is one: not every such API lists its models.
            away = status is None or status >= 500 or status in (401, 403)
            self._looked = -math.inf if away else now
            return "silent" if away else "well"
        return "well"

    async def progress(self) -> bytes | None:
        """Others watch over it."""
        return None

    async def speaks(self, seconds: float) -> bool:
        """Not asked: an answer may cost money."""
        return True

    async def registered(self) -> frozenset[str]:
        return frozenset()

    async def load_adapter(self, name: str, folder: Path) -> None:
        raise EngineRejected(400, f"An external model takes no adapter, so not {name}")

    async def chat(self, payload: dict[str, Any], path: str = CHAT) -> dict[str, Any]:
        return await super().chat(self._translated(payload), path)

    async def open(self, payload: dict[str, Any], path: str = CHAT) -> EngineStream:
        return await super().open(self._translated(payload), path)

    def _form_of(self, payload: Mapping[str, Any]) -> str | None:
        """Its failures are its own: nothing tells whether it is well."""
        return None

    def _translated(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        names = {"max_tokens": self._limit_field}
        return {names.get(name, name): value for name, value in payload.items()}

    async def _checked_json(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        """Its refusal of our key, or of our model's name, is no fault of the client's."""
        status = response.status
        if status in (401, 403):
            raise Unavailable(
                f"{self.url} refuses the service's key",
                "Check the variable that `key` names",
                retry_after=60,
            )
        if status == 404:
            raise Unavailable(f"{self.url} knows no such model", "Check `model`", retry_after=60)
        if status == 429:
            wait = response.headers.get("Retry-After", "")
            seconds = float(wait) if wait.isdecimal() else 5.0
            raise Overloaded(f"{self.url} is asked too often", "Try again", retry_after=seconds)
        try:
            return await super()._checked_json(response)
        except orjson.JSONDecodeError as error:
            raise Unavailable(f"{self.url} sent what is no JSON", "Try again") from error
        except (EngineRejected, Unavailable) as error:
            if self._key and self._key in error.message:
                error.message = error.message.replace(self._key, "[key]")
                error.args = (error.message,)
            raise


def bearer(key: str) -> dict[str, str]:
    """The header that carries an API key; none without."""
    return {"Authorization": f"Bearer {key}"} if key else {}
