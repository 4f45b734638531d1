"""Changes of what answers, as they are asked of this service.

Each opens what it needs first, so that a refusal changes nothing, then writes the store, and then
lets this process follow at once; others follow within a second.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from pydantic import Field

from adapters.audit import Cause
from adapters.gating import Demand, check_demand, demand_of, refuse_unmeasured
from adapters.parts import AdapterChoice, Changes
from adapters.release import Release
from adapters.steering import drop_canary, end_mirror, set_canary, set_mirror
from adapters.traffic import Canary, Mirror, Number
from indexer.domain import load_domain
from service.answer.body import Body
from service.answer.releases import Publish, Releases

Name = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=2000)]
Given = Annotated[float, Field(gt=0, le=1)]


class NewRelease(Body):
    """POST .../releases. What is not given is as in the live release; `adapter` null: none."""

    snapshot: Name | None = None
    adapter: Name | None = None
    answer: dict[str, Any] = Field(default_factory=dict)
    retrieval: dict[str, Any] = Field(default_factory=dict)
    note: Text = ""
    why: Text = ""
    activate: bool = False

    def keeps_adapter(self) -> bool:
        """Null says that there is to be none; without the field the live one's stays."""
        return "adapter" not in self.model_fields_set


class CanaryWish(Body):
    """PUT .../canary."""

    release: Number
    share: Given
    why: Text = ""


class MirrorWish(Body):
    """PUT .../mirror."""

    release: Number
    share: Given = 1.0
    per_minute: Annotated[int, Field(ge=1, le=60_000)] = 60
    max_mb: Annotated[int, Field(ge=1, le=65_536)] = 64
    questions: bool = False
    why: Text = ""


class Reason(Body):
    """Why, for the audit."""

    why: Text = ""


class Activation(Reason):
    """`force`: also without the passing report that the domain's gate demands; needs `why`."""

    force: bool = False


class ReleaseChanges:
    """Makes releases and decides who gets them. UnknownDomain for a name that is not served."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._store = releases.store

    async def create(self, name: str, wanted: NewRelease, cause: Cause) -> Release:
        """From parts; with an adapter that the engine refuses there is no release."""
        changes = Changes(answer=wanted.answer, retrieval=wanted.retrieval)
        async with AsyncExitStack() as stack:
            adapter: AdapterChoice = "keep" if wanted.keeps_adapter() else None
            self._releases.domain(name)
            if wanted.adapter:
                registered = self._releases.opening.registered(name, wanted.adapter)
                with self._releases.refusals(name):
                    adapter = await stack.enter_async_context(registered)

            def make() -> Release:
                return self._make(name, adapter, cause, wanted.snapshot, changes, wanted.note)

            if wanted.activate:
                await self._refuse_unmeasured(name)
                return await self._releases.flip(name, make, self._activate(name, cause))
            async with self._releases.changing(name):
                return await asyncio.to_thread(make)

    async def set_adapter(self, name: str, reference: str | None, cause: Cause) -> Release:
        """Make and activate a release with another adapter (None: without)."""
        async with AsyncExitStack() as stack:
            adapter: AdapterChoice = None
            self._releases.domain(name)
            await self._refuse_unmeasured(name)
            if reference:
                registered = self._releases.opening.registered(name, reference)
                with self._releases.refusals(name):
                    adapter = await stack.enter_async_context(registered)
            return await self._releases.flip(
                name, lambda: self._make(name, adapter, cause), self._activate(name, cause)
            )

    async def activate(
        self, name: str, number: int, cause: Cause, *, forced: bool = False
    ) -> Release:
        """Let release `number` answer; NotGated if the domain's gate has not let it pass."""
        self._releases.domain(name)
        return await self._releases.flip(
            name,
            lambda: self._permitted(name, number, forced),
            self._activate(name, cause, forced=forced),
        )

    async def rollback(self, name: str, cause: Cause) -> Release:
        """Let the release answer that did so before the live one."""
        self._releases.domain(name)
        return await self._releases.flip(
            name,
            lambda: self._store.previous(name),
            lambda release: self._store.rollback(name, cause, only_to=release.number),
        )

    async def promote(self, name: str, cause: Cause, *, forced: bool = False) -> Release:
        """Let the canary answer everything; NotGated as in `activate`."""
        self._releases.domain(name)

        def publish(release: Release) -> Release:
            demand = self._demand(name, forced)
            return self._store.promote(name, cause, only=release.number, demand=demand)

        return await self._releases.flip(name, lambda: self._store.canary(name), publish)

    async def set_canary(self, name: str, wanted: CanaryWish, cause: Cause) -> Release:
        """Let a release answer for a share of the callers."""
        self._releases.domain(name)
        canary = Canary(release=wanted.release, share=wanted.share)
        return await self._releases.put_beside(
            name, "canary", wanted.release, lambda: set_canary(self._store, name, canary, cause)
        )

    async def set_mirror(self, name: str, wanted: MirrorWish, cause: Cause) -> Release:
        """Have a release asked again what the live one was asked."""
        self._releases.domain(name)
        mirror = Mirror(**wanted.model_dump(exclude={"why"}))
        return await self._releases.put_beside(
            name, "mirror", wanted.release, lambda: set_mirror(self._store, name, mirror, cause)
        )

    async def end(self, name: str, part: Literal["canary", "mirror"], cause: Cause) -> None:
        """Let the live release answer everything, or ask nobody again."""
        self._releases.domain(name)
        stop = drop_canary if part == "canary" else end_mirror
        async with self._releases.changing(name):
            await asyncio.to_thread(stop, self._store, name, cause)
        await self._releases.refresh(name)

    def _activate(self, name: str, cause: Cause, *, forced: bool = False) -> Publish:
        def publish(release: Release) -> Release:
            demand = self._demand(name, forced)
            return self._store.activate(name, release.number, cause, demand)

        return publish

    def _permitted(self, name: str, number: int, forced: bool) -> Release:
        """On a thread: refused before its adapter is loaded; checked again under the lock."""
        release = self._store.get(name, number)
        live = self._store.pointer(name).number()
        check_demand(self._store.paths, name, number, live, self._demand(name, forced))
        return release

    def _demand(self, name: str, forced: bool) -> Demand | None:
        """By the domain's file as it is now."""
        return demand_of(load_domain(self._releases.domain(name).folder), forced=forced)

    async def _refuse_unmeasured(self, name: str) -> None:
        domain = await asyncio.to_thread(load_domain, self._releases.domain(name).folder)
        refuse_unmeasured(domain, self._store.pointer(name).number())

    def _make(
        self,
        name: str,
        adapter: AdapterChoice,
        cause: Cause,
        snapshot: str | None = None,
        changes: Changes | None = None,
        note: str = "",
    ) -> Release:
        """On a thread."""
        return self._store.create(
            load_domain(self._releases.domain(name).folder),
            snapshot=snapshot,
            adapter=adapter,
            changes=changes,
            base=self._releases.opening.base_of(name),
            note=note,
            activate=False,
            cause=cause,
        )
