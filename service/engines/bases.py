"""A base as it is served: who answers for it, how much it reads, and what adapters fit it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adapters.base import BaseProfile
from service.engines.entries import EngineEntry, read_entries
from service.engines.memory import read_options
from service.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class ServedBase:
    """One base; `digest` is what releases and adapters pin, `context` is in tokens.

    `profile` is None for an external model, of which nothing is here.
    """

    entry: EngineEntry
    title: str
    digest: str
    context: int
    profile: BaseProfile | None

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def folder(self) -> Path | None:
        return self.profile.folder if self.profile else None


def read_bases(settings: ServiceSettings) -> Mapping[str, ServedBase]:
    """Every base that is served. BadInput names what is wrong with one of them."""
    return {name: serve(entry, settings) for name, entry in read_entries(settings).items()}


def serve(entry: EngineEntry, settings: ServiceSettings) -> ServedBase:
    """Read what there is to know; BaseRefused if the base's files cannot be used."""
    if entry.base is None:
        assert entry.context is not None
        digest = hashlib.sha256(f"external {entry.urls[0]} {entry.called}".encode()).hexdigest()
        return ServedBase(entry, entry.called, digest, entry.context, None)
    profile = BaseProfile.read(entry.base)
    own = read_options(entry.options).context or entry.context
    context = own or settings.max_model_len or profile.context
    return ServedBase(entry, profile.name, profile.digest, context, profile)
