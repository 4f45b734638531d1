"""TRAFFIC: which releases of a domain get a part of its requests beside the live one.

The canary answers for some callers; the mirror is asked the same again and answers nobody. Who
falls to the canary is a function of the release, the share and the caller alone, so that all
service processes of a store agree and a larger share keeps those that it had.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeAlias

from pydantic import Field

from adapters.manifest import Pinned, read_pinned, to_json
from indexer.settings import Paths, write_atomically

FILE_NAME = "TRAFFIC"
_BITS = 53  # as many as a float holds exactly, so that every share is met exactly

Share: TypeAlias = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
Number: TypeAlias = Annotated[int, Field(ge=1)]


class Canary(Pinned):
    """The release that answers for this share of callers."""

    release: Number
    share: Share

    def takes(self, domain: str, caller: str) -> bool:
        """Does this caller fall to it? Another release draws other callers."""
        return place(f"{domain}@{self.release}", caller) < self.share


class Mirror(Pinned):
    """The release that is asked again what the live one was asked.

    A share of the requests, at most so many a minute in each service process; of what came of it
    the newest `max_mb` MiB are kept. `questions`: what was asked is kept too, for a judge.
    """

    release: Number
    share: Share = 1.0
    per_minute: Annotated[int, Field(ge=1, le=60_000)] = 60
    max_mb: Annotated[int, Field(ge=1, le=65_536)] = 64
    questions: bool = False


class Traffic(Pinned):
    """What stands in the file; nothing where there is none."""

    canary: Canary | None = None
    mirror: Mirror | None = None

    def releases(self) -> dict[str, int]:
        """Number by role."""
        roles = {"canary": self.canary, "mirror": self.mirror}
        return {role: found.release for role, found in roles.items() if found}


class TrafficFile:
    """One domain's file; who changes it must hold the domain's lock."""

    def __init__(self, paths: Paths, domain: str) -> None:
        self.path = paths.live(domain).with_name(FILE_NAME)

    def read(self) -> Traffic:
        """StoreError if it is there and cannot be understood."""
        return read_pinned(self.path, Traffic) if self.path.exists() else Traffic()

    def write(self, traffic: Traffic) -> None:
        write_atomically(self.path, to_json(traffic))


def place(line: str, caller: str) -> float:
    """Where on [0, 1) a caller stands: evenly spread, for good, and anew for each line."""
    digest = hashlib.blake2b(f"{line}\0{caller}".encode(errors="replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _BITS)) / float(1 << _BITS)
