"""By which names the service may be called.

Without keys whoever reaches the address may ask and change all. On loopback that is this machine
alone, unless a web page has its own name lead there (DNS rebinding): then the browser takes this
service for the page's own, and only the Host header gives it away.
"""

import re

from service.errors import Forbidden
from service.keys import is_loopback

PORT = re.compile(r":\d{1,5}$")


class Hosts:
    """`allowed`: names from the setting; `*` is any. `local_only`: otherwise local names alone."""

    def __init__(self, allowed: str, *, local_only: bool) -> None:
        self._allowed = frozenset(allowed.lower().split())
        self._any = "*" in self._allowed or not (local_only or self._allowed)

    def check(self, host: str | None) -> None:
        """Forbidden for a name that is not the service's; HTTP/1.0 may send none."""
        if self._any or host is None:
            return
        name = PORT.sub("", host.strip().lower()).strip("[]").removesuffix(".")
        if name in self._allowed or is_loopback(name) or name.endswith(".localhost"):
            return
        remedy = "Call it by localhost, add a key, or name it in DSLM_ALLOWED_HOSTS"
        raise Forbidden(f"The service is not called {host[:100]!r}", remedy)
