"""Canary and mirror of a domain: begun, changed and ended, each change audited.

LIVE is not touched here; `ReleaseStore.promote` makes the canary live.
"""

from __future__ import annotations

from typing import Any

from adapters.audit import Action, Cause
from adapters.release import Release, ReleaseStore
from adapters.traffic import Canary, Mirror, Traffic, TrafficFile
from indexer.errors import BadInput


def set_canary(store: ReleaseStore, domain: str, canary: Canary, cause: Cause) -> Release:
    """Let a release answer for a share of the callers, or change its share."""
    with store.unchanged(domain):
        release = _beside_live(store, domain, canary.release)
        traffic = store.traffic(domain)
        old = traffic.canary
        wanted = traffic.model_copy(update={"canary": canary})
        more = {"share": canary.share}
        _write(store, domain, wanted, "canary", cause, old.release if old else None, more)
    return release


def drop_canary(store: ReleaseStore, domain: str, cause: Cause) -> int:
    """Let the live release answer everything again; the canary's number. BadInput without one."""
    with store.unchanged(domain):
        traffic = store.traffic(domain)
        if traffic.canary is None:
            raise BadInput(f"{domain} has no canary", f"Begin one with a release of {domain}")
        old = traffic.canary.release
        _write(store, domain, traffic.model_copy(update={"canary": None}), "drop", cause, old)
    return old


def set_mirror(store: ReleaseStore, domain: str, mirror: Mirror, cause: Cause) -> Release:
    """Have a release asked again what the live one was asked, or change how much of it."""
    with store.unchanged(domain):
        release = _beside_live(store, domain, mirror.release)
        traffic = store.traffic(domain)
        old = traffic.mirror
        wanted = traffic.model_copy(update={"mirror": mirror})
        more = mirror.model_dump(exclude={"release"})
        _write(store, domain, wanted, "mirror", cause, old.release if old else None, more)
    return release


def end_mirror(store: ReleaseStore, domain: str, cause: Cause) -> int:
    """Ask nobody again; what was kept stays. The mirror's number; BadInput without one."""
    with store.unchanged(domain):
        traffic = store.traffic(domain)
        if traffic.mirror is None:
            raise BadInput(f"{domain} has no mirror", f"Begin one with a release of {domain}")
        old = traffic.mirror.release
        _write(store, domain, traffic.model_copy(update={"mirror": None}), "unmirror", cause, old)
    return old


def _beside_live(store: ReleaseStore, domain: str, number: int) -> Release:
    release = store.whole(domain, number)
    live = store.pointer(domain).number()
    if live is None:
        raise BadInput(f"{domain} has no live release", f"Run `dslm index {domain}` first")
    if live == number:
        raise BadInput(f"Release {number} of {domain} is live already", "Name another release")
    return release


def _write(
    store: ReleaseStore,
    domain: str,
    traffic: Traffic,
    action: Action,
    cause: Cause,
    old: int | None,
    more: dict[str, Any] | None = None,
) -> None:
    """Audit and write, unless it stands there already."""
    if traffic == store.traffic(domain):
        return
    role = "mirror" if action in ("mirror", "unmirror") else "canary"
    new = traffic.releases().get(role)
    with store.audit(domain).change(action, cause, old=old, new=new, more=more):
        TrafficFile(store.paths, domain).write(traffic)
