"""How much a key may ask in a minute: requests and tokens, refilled as time goes by."""

import math
import time
from collections.abc import Callable

from service.errors import TooManyRequests, TooManyTokens
from service.keys import Key

MINUTE = 60.0


class Bucket:
    """`limit` a minute, a minute's worth at most; it may be owed to, and then takes longer."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._level = float(limit)
        self._at = clock()

    def level(self) -> float:
        now = self._clock()
        self._level = min(self.limit, self._level + (now - self._at) * self.limit / MINUTE)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Also back, by a negative amount."""
        self._level = min(self.limit, self.level() - amount)

    def wait(self, amount: float) -> float:
        """Seconds until so much is there; a whole bucket serves who wants more than it holds."""
        lacking = min(amount, self.limit) - self.level()
        return max(0.0, lacking * MINUTE / self.limit)


class Quota:
    """One key's two buckets, where it has limits."""

    def __init__(self, key: Key, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        self._requests = _bucket(key.requests_per_minute, clock)
        self._tokens = _bucket(key.tokens_per_minute, clock)

    def count_request(self) -> None:
        """TooManyRequests, with the time to wait."""
        if self._requests is None:
            return
        if wait := self._requests.wait(1):
            limit = f"{self._requests.limit} requests per minute"
            message = f"The key {self.key.id} has used up its {limit}"
            raise TooManyRequests(message, "Wait, or spread requests out", retry_after=wait)
        self._requests.take(1)

    def reserve(self, tokens: int) -> int:
        """Take what an answer may need before it starts; `settle` must follow."""
        if self._tokens is None:
            return 0
        if wait := self._tokens.wait(max(1, tokens)):
            limit = f"{self._tokens.limit} tokens per minute"
            message = f"The key {self.key.id} has used up its {limit}"
            raise TooManyTokens(message, "Wait, or ask for fewer tokens", retry_after=wait)
        self._tokens.take(tokens)
        return tokens

    def settle(self, reserved: int, spent: int) -> None:
        """Put what was spent in the place of what was reserved."""
        if self._tokens is not None:
            self._tokens.take(spent - reserved)

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*`."""
        found = {}
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                found[f"x-ratelimit-limit-{name}"] = str(bucket.limit)
                found[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level())))
                found[f"x-ratelimit-reset-{name}"] = f"{bucket.wait(bucket.limit):.3f}s"
        return found


def _bucket(limit: int | None, clock: Callable[[], float]) -> Bucket | None:
    return Bucket(limit, clock) if limit else None
