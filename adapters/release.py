"""Releases: what answers for a domain, pinned and numbered; LIVE names the one that answers now.

A swap, a fresh index, a new prompt and a rollback are one operation: point LIVE elsewhere.
Release files are immutable, and every change of what answers is audited.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from adapters.audit import Action, Audit, Cause, this_user
from adapters.gating import Demand, check_demand, refuse_unmeasured
from adapters.lifecycle import Lifecycle
from adapters.live import LivePointer
from adapters.locking import exclusive
from adapters.manifest import read_pinned, to_json
from adapters.parts import AdapterChoice as AdapterChoice
from adapters.parts import Changes, Parts, make
from adapters.pins import Release as Release
from adapters.publishing import publish_once
from adapters.registry import AdapterRegistry
from adapters.traffic import Traffic, TrafficFile
from indexer.domain import Domain
from indexer.errors import BadInput, NotFound
from indexer.settings import Paths
from indexer.store.manifest import check_files


class ReleaseStore:
    """The releases of every domain in one store; writers wait for each other.

    Who makes a change, and why, is its `cause`; the user of this process where nobody says.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def create(
        self,
        domain: Domain,
        *,
        snapshot: str | None = None,
        adapter: AdapterChoice = "keep",
        changes: Changes | None = None,
        base: str | None = None,
        note: str = "",
        activate: bool = True,
        cause: Cause | None = None,
    ) -> Release:
        """Pin a new release, and make it the one that answers unless told not to.

        What is not given comes from the live release; see `parts.make`. NotGated where it would
        answer at once and the domain has a gate.
        """
        parts = Parts(snapshot, adapter, changes, base, note)
        cause = cause or this_user(note)
        with self.unchanged(domain.name):
            parent = self.live(domain.name)
            if activate:
                refuse_unmeasured(domain, parent.number if parent else None)
            number = max(self.numbers(domain.name), default=0) + 1
            release = make(self.paths, domain, parent, number, parts)
            old = parent.number if parent else None
            with self.audit(domain.name).change("create", cause, old=old, new=number):
                publish_once(self.file(domain.name, number), to_json(release))
            if activate:
                self._point(domain.name, number, "activate", cause)
        return release

    def get(self, domain: str, number: int) -> Release:
        """One release by number."""
        numbers = self.numbers(domain)
        if number not in numbers:
            raise NotFound(f"{domain} has no release {number}", f"Its releases: {spans(numbers)}")
        return read_pinned(self.file(domain, number), Release)

    def list(self, domain: str) -> Sequence[Release]:
        """Every release of a domain, oldest first."""
        return [self.get(domain, number) for number in self.numbers(domain)]

    def live(self, domain: str) -> Release | None:
        """The release that answers now."""
        number = self.pointer(domain).number()
        return None if number is None else self.get(domain, number)

    def activate(
        self, domain: str, number: int, cause: Cause | None = None, demand: Demand | None = None
    ) -> Release:
        """Let another release answer; activating the live one again changes nothing.

        NotGated where the `demand` of its domain is not met; see `gating.demand_of`.
        """
        with self.unchanged(domain):
            release = self.whole(domain, number)
            self._point(domain, number, "activate", cause or this_user(), demand)
        return release

    def previous(self, domain: str) -> Release:
        """The release that answered before the live one: where `rollback` leads."""
        before = self.pointer(domain).before()
        if not before:
            raise BadInput(
                f"Nothing answered for {domain} before its live release",
                "Activate a release by its number",
            )
        return self.get(domain, before[-1])

    def rollback(
        self, domain: str, cause: Cause | None = None, only_to: int | None = None
    ) -> Release:
        """Let that release answer which answered before the live one.

        With `only_to`, what is there is returned and nothing changed if that is another one.
        """
        with self.unchanged(domain):
            release = self.previous(domain)
            if only_to in (None, release.number):
                pointer, cause = self.pointer(domain), cause or this_user()
                was, new = pointer.number(), release.number
                with self.audit(domain).change("rollback", cause, old=was, new=new):
                    self._note(domain, was, new, cause)
                    pointer.point_back(new)
                self._forget_canary(domain, was, new)
        return release

    def canary(self, domain: str) -> Release:
        """The release that answers for a share of the callers; BadInput if there is none."""
        found = self.traffic(domain).canary
        if found is None:
            raise BadInput(f"{domain} has no canary", "Begin one, or activate a release")
        return self.whole(domain, found.release)

    def promote(
        self,
        domain: str,
        cause: Cause | None = None,
        only: int | None = None,
        demand: Demand | None = None,
    ) -> Release:
        """Let the canary answer everything; NotGated as in `activate`.

        With `only`, the canary is returned and nothing changed if it is another one.
        """
        with self.unchanged(domain):
            release = self.canary(domain)
            if only in (None, release.number):
                self._point(domain, release.number, "promote", cause or this_user(), demand)
        return release

    def traffic(self, domain: str) -> Traffic:
        """Which releases get a part of the requests, besides the live one."""
        traffic = TrafficFile(self.paths, domain).read()
        # A crash may have left the canary that has just become the live release.
        if traffic.canary and traffic.canary.release == self.pointer(domain).number():
            return traffic.model_copy(update={"canary": None})
        return traffic

    def whole(self, domain: str, number: int) -> Release:
        """One release whose adapter and snapshot are there, so that it can be opened."""
        release = self.get(domain, number)
        if release.adapter:
            AdapterRegistry(self.paths).get(release.adapter.digest)
        check_files(self.paths.snapshot(domain, release.snapshot))
        return release

    def unchanged(self, domain: str) -> contextlib.AbstractContextManager[None]:
        """Until it ends nobody else changes what answers for this domain."""
        return exclusive(self.paths.domain(domain) / ".release.lock")

    def numbers(self, domain: str) -> Sequence[int]:
        """Of every release that is there, in order; pruned ones leave gaps."""
        files = self.paths.releases(domain).glob("[1-9]*.json")
        return sorted(int(file.stem) for file in files if file.stem.isdecimal())

    def file(self, domain: str, number: int) -> Path:
        return self.paths.releases(domain) / f"{number}.json"

    def pointer(self, domain: str) -> LivePointer:
        return LivePointer(self.paths, domain)

    def audit(self, domain: str) -> Audit:
        """Every change of what answers."""
        return Audit(self.paths, domain)

    def _point(
        self,
        domain: str,
        number: int,
        action: Action,
        cause: Cause,
        demand: Demand | None = None,
    ) -> None:
        pointer = self.pointer(domain)
        old = pointer.number()
        more = check_demand(self.paths, domain, number, old, demand)
        if old != number:
            with self.audit(domain).change(action, cause, old=old, new=number, more=more):
                self._note(domain, old, number, cause)
                pointer.point(number)
        self._forget_canary(domain, old, number)

    def _note(self, domain: str, old: int | None, new: int, cause: Cause) -> None:
        """Into the records of the adapter versions; what was live may have been removed."""
        there = old is not None and old in self.numbers(domain)
        was = self.get(domain, old) if old is not None and there else None
        Lifecycle(self.paths).switched(was, self.get(domain, new), cause)

    def _forget_canary(self, domain: str, *live: int | None) -> None:
        """What answers everything is nobody's canary any more, nor what just did."""
        file = TrafficFile(self.paths, domain)
        traffic = file.read()
        if traffic.canary and traffic.canary.release in live:
            file.write(traffic.model_copy(update={"canary": None}))


def spans(numbers: Sequence[int]) -> str:
    """`1 to 3, 7`; `none yet` for nothing."""
    return ", ".join(_spans(numbers)) or "none yet"


def _spans(numbers: Sequence[int]) -> Iterator[str]:
    first = last = 0
    for number in [*numbers, 0]:
        if last and number != last + 1:
            yield f"{first} to {last}" if last > first else str(first)
            first = number
        first = first or number
        last = number
