"""Who calls, and how far that reaches: checked before anything else is looked at.

Whatever has no rule here needs a key for everything: a new endpoint is closed until it has one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.audit import Cause
from indexer.errors import DslmError
from service.api.failures import Failures
from service.api.hosts import Hosts
from service.api.wire import error_response
from service.errors import Forbidden, TooManyFailures, Unauthorized, Unavailable
from service.keys import ALL, Key, KeyRing
from service.quotas import Quota

CALLER = "dslm.caller"
OPEN_PATHS = frozenset({"/health", "/ready"})
# Each looks at the names in the body itself, or shows only what the caller may see.
ASKED = re.compile(r"/v1/(chat/completions|completions|embeddings|feedback)")
LISTED = re.compile(r"/v1/(models(/.*)?|domains)")
OF_A_DOMAIN = re.compile(r"/v1/domains/(?P<domain>[^/@]+)(@[^/]*)?(/.*)?")
JOBS = re.compile(r"/v1/jobs(/.*)?")
READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Caller:
    """One who was let in. `id` is empty where no keys are configured."""

    id: str = ""
    chat: frozenset[str] = frozenset({ALL})
    admin: frozenset[str] = frozenset({ALL})
    quota: Quota | None = None
    name: str = ""

    def may_chat(self, domain: str) -> bool:
        return bool(self.chat & {ALL, domain})

    def may_see(self, domain: str) -> bool:
        """Its releases and documents: for those who may ask it or change it."""
        return self.may_chat(domain) or self.may_change(domain)

    def may_change(self, domain: str) -> bool:
        return bool(self.admin & {ALL, domain})

    def check_chat(self, *domains: str) -> None:
        """Forbidden unless one of them may be asked."""
        if not any(map(self.may_chat, domains)):
            name = domains[0]
            raise Forbidden(f"The key {self.id} may not ask '{name}'", "Use another key")

    def reserve(self, tokens: int) -> int:
        """Take tokens from the key's quota; `settle` must follow."""
        return self.quota.reserve(tokens) if self.quota else 0

    def settle(self, reserved: int, usage: dict[str, int]) -> None:
        """`usage` as the engine counts it; without any, nothing was spent."""
        if self.quota:
            self.quota.settle(reserved, usage.get("total_tokens") or 0)


EVERYONE = Caller()


def caller_of(request: Request) -> Caller:
    """Whom the gate let in."""
    found: Caller = request.scope.get(CALLER, EVERYONE)
    return found


def cause_of(request: Request, why: str = "") -> Cause:
    """Who asks for a change, for the audit: the key by its name and id."""
    caller = caller_of(request)
    return Cause(f"key:{caller.name} {caller.id}" if caller.id else "nobody: no keys", why)


def require_admin(request: Request, domain: str) -> None:
    """Forbidden for who may only ask the domain: what is read here says what others did."""
    caller = caller_of(request)
    if not caller.may_change(domain):
        path = request.url.path
        raise Forbidden(f"The key {caller.id} may not read {path}", "Use another key")


class Gate:
    """Pure ASGI. `open_without_keys`: on loopback nobody needs a key until there is one."""

    def __init__(
        self,
        app: ASGIApp,
        ring: KeyRing,
        hosts: Hosts,
        *,
        open_without_keys: bool,
        open_metrics: bool,
    ) -> None:
        self._app = app
        self._ring = ring
        self._hosts = hosts
        self._failures = Failures()
        self._open_without_keys = open_without_keys
        self._open_paths = OPEN_PATHS | ({"/metrics"} if open_metrics else set())
        self._quotas: dict[str, Quota] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        try:
            caller = self._known(scope)
            check(caller, scope["method"], scope["path"])
            if caller.quota:
                caller.quota.count_request()
        except DslmError as error:
            response = error_response(error)
            if isinstance(error, Unauthorized):
                response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        scope[CALLER] = caller
        await self._app(scope, receive, _telling(send, caller.quota) if caller.quota else send)

    def _known(self, scope: Scope) -> Caller:
        try:
            return self._let_in(Headers(scope=scope))
        except Unauthorized as error:
            address, _ = scope.get("client") or ("", 0)
            if wait := self._failures.count(address):
                message = "Too many requests of this address had no valid API key"
                raise TooManyFailures(message, "See `dslm keys list`", retry_after=wait) from error
            raise

    def _let_in(self, headers: Headers) -> Caller:
        if not self._ring.configured():
            if self._open_without_keys:
                self._hosts.check(headers.get("host"))
                return EVERYONE
            raise Unauthorized("No API key is configured", "Run `dslm keys add`")
        if self._ring.broken:
            raise Unavailable("The API keys cannot be read", "See the service's log")
        kind, _, text = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            remedy = "Send it as `Authorization: Bearer ...`"
            raise Unauthorized("An API key is needed", remedy)
        key = self._ring.find(text.strip())
        if key is None:
            raise Unauthorized("The API key is not valid", "See `dslm keys list`")
        return Caller(key.id, frozenset(key.chat), frozenset(key.admin), self._quota(key), key.name)

    def _quota(self, key: Key) -> Quota | None:
        """Kept as long as the key does not change."""
        if key.requests_per_minute is None and key.tokens_per_minute is None:
            return None
        known = self._quotas.get(key.id)
        if known is None or known.key != key:
            known = self._quotas[key.id] = Quota(key)
        return known


def check(caller: Caller, method: str, path: str) -> None:
    """Forbidden where the caller's key does not reach."""
    reading = method in READING
    if ASKED.fullmatch(path) or (reading and LISTED.fullmatch(path)):
        return
    if found := OF_A_DOMAIN.fullmatch(path):
        domain = found["domain"]
        allowed = caller.may_see(domain) if reading else caller.may_change(domain)
    elif JOBS.fullmatch(path):
        allowed = bool(caller.admin)
    else:
        allowed = ALL in caller.admin
    if not allowed:
        raise Forbidden(f"The key {caller.id} may not {method} {path}", "Use another key")


def visible(caller: Caller, names: Iterable[str]) -> list[str]:
    """Those of the domains that the caller may know of."""
    return [name for name in names if caller.may_see(name)]


def _telling(send: Send, quota: Quota) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in quota.headers().items():
                headers[name] = value
        await send(message)

    return tell
