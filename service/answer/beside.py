"""The canary and the mirror of each domain, open beside what is live."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from adapters.release import ReleaseStore
from adapters.traffic import Canary, Mirror
from indexer.errors import DslmError
from service.answer.opened import Opening, OpenRelease
from service.telemetry import Telemetry

log = logging.getLogger("dslm.releases")
Part = Literal["canary", "mirror"]
Caller = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Held:
    """A release that is open beside the live one, and what part of the traffic it gets."""

    wanted: Canary | Mirror
    opened: OpenRelease


class Beside:
    """Owns which releases are open beside the live ones."""

    def __init__(
        self,
        names: Iterable[str],
        store: ReleaseStore,
        opening: Opening,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._opening = opening
        for name in names:
            gauge = telemetry.releases.canary_share.labels(name)
            gauge.set_function(partial(self._share, name))
        self._held: dict[tuple[str, Part], Held] = {}
        self._refused: dict[tuple[str, Part], str] = {}

    def canary(self, name: str, caller: Caller) -> OpenRelease | None:
        """The canary, if there is one, this caller falls to it and the engine took its adapter."""
        held = self._held.get((name, "canary"))
        if held is None or not isinstance(held.wanted, Canary):
            return None
        if not held.wanted.takes(name, caller()) or held.opened.refusal():
            return None
        return held.opened

    def mirror(self, name: str) -> Mirror | None:
        """Which release is to be asked again what the live one was asked, and how often."""
        held = self._held.get((name, "mirror"))
        return held.wanted if held and isinstance(held.wanted, Mirror) else None

    def parts(self, name: str) -> tuple[Canary | Mirror | None, ...]:
        """What is open here, as the domain's file words it."""
        held = (self._held.get((name, "canary")), self._held.get((name, "mirror")))
        return tuple(one.wanted if one else None for one in held)

    def numbered(self, name: str, number: str) -> OpenRelease | None:
        """The one of this number, if it is open here."""
        held = (self._held.get((name, "canary")), self._held.get((name, "mirror")))
        found = (one.opened for one in held if one and str(one.opened.release.number) == number)
        return next(found, None)

    def refusal(self, name: str, part: Part) -> str:
        """Why it gets no traffic in this process, empty where it does."""
        held = self._held.get((name, part))
        return (held.opened.refusal() if held else "") or self._refused.get((name, part), "")

    async def match(self, name: str) -> None:
        """Open and close what the domain's file says. What cannot be opened gets no traffic.

        Raises what kept one of them from being opened, once both have been tried.
        """
        traffic = await asyncio.to_thread(self._store.traffic, name)
        errors = [
            await self._match(name, "canary", traffic.canary),
            await self._match(name, "mirror", traffic.mirror),
        ]
        for error in filter(None, errors):
            raise error

    def close(self) -> None:
        for name, part in list(self._held):
            self._drop(name, part)

    async def _match(
        self, name: str, part: Part, wanted: Canary | Mirror | None
    ) -> DslmError | None:
        held = self._held.get((name, part))
        self._refused.pop((name, part), None)
        if wanted is None:
            self._drop(name, part)
        elif held and held.opened.release.number == wanted.release:
            self._held[name, part] = Held(wanted, held.opened)
        else:
            try:
                opened = await self._open(name, part, wanted.release)
            except DslmError as error:
                self._drop(name, part)
                self._refused[name, part] = str(error)
                return error
            self._drop(name, part)
            self._held[name, part] = Held(wanted, opened)
            log.info("%s of %s is release %d", part, name, wanted.release)
        return None

    async def _open(self, name: str, part: Part, number: int) -> OpenRelease:
        release = await asyncio.to_thread(self._store.get, name, number)
        return await self._opening.open(release, part)

    def _drop(self, name: str, part: Part) -> None:
        """Answers that run on it end on it."""
        held = self._held.pop((name, part), None)
        if held:
            self._opening.close(held.opened)

    def _share(self, name: str) -> float:
        """Of the callers that really fall to the canary here."""
        held = self._held.get((name, "canary"))
        return held.wanted.share if held and not held.opened.refusal() else 0.0
