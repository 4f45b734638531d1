"""How often an address may present API keys that are not valid.

Nobody guesses 256 bits, so this keeps nobody out: it bounds what a client with a wrong key, or a
scanner, costs in log lines and looks less like a riddle than a thousand 401 do. A valid key is let
in whatever its address did: behind a proxy all clients have one.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

PER_MINUTE = 30
MOST_ADDRESSES = 10_000


class Failures:
    """Counts of the last minutes by address; of IPv6 by the network that one customer has."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, address: str) -> float:
        """One more; seconds to wait before the next, 0 while there are attempts left."""
        name, now = _network(address), self._clock()
        left, seen = self._left.pop(name, (float(PER_MINUTE), now))
        left = min(PER_MINUTE, left + (now - seen) * PER_MINUTE / 60)
        over = left < 1
        self._left[name] = (left if over else left - 1, now)
        while len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return (1 - left) * 60 / PER_MINUTE if over else 0.0


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
