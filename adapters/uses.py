"""Which adapter versions are needed, and by whom: nothing of these may go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from adapters.release import ReleaseStore
from indexer.settings import Paths, store_errors

Role = Literal["live", "canary", "mirror", "release"]
ANSWERING: Final = ("live", "canary")


@dataclass(frozen=True, slots=True)
class Use:
    """A release that pins a version; `role` is "release" for one that waits or may come back."""

    domain: str
    release: int
    role: Role

    def __str__(self) -> str:
        return f"{self.role} {self.domain}@{self.release}"


def domains(paths: Paths) -> Sequence[str]:
    """Every domain that has something in the store, served or not."""
    home = paths.root / "domains"
    with store_errors(home):
        return sorted(one.name for one in home.iterdir()) if home.is_dir() else []


def uses(paths: Paths) -> Mapping[str, Sequence[Use]]:
    """By the version's digest. StoreError if a release cannot be read: then nothing may go."""
    store, found = ReleaseStore(paths), defaultdict[str, list[Use]](list)
    for domain in domains(paths):
        live = store.pointer(domain).number()
        roles: dict[int, Role] = {}
        for name, number in store.traffic(domain).releases().items():
            roles[number] = "canary" if name == "canary" else "mirror"
        for release in store.list(domain):
            if release.adapter:
                number = release.number
                role = "live" if number == live else roles.get(number, "release")
                found[release.adapter.digest].append(Use(domain, number, role))
    return found


def is_live(used: Sequence[Use]) -> bool:
    """Does a domain answer with it, or a part of its callers?"""
    return any(use.role in ANSWERING for use in used)
