"""The parts that a release pins, and whether they go together."""

from __future__ import annotations

from datetime import datetime

from adapters.errors import AdapterRefused
from adapters.manifest import AdapterManifest, Pinned
from adapters.registry import engine_name
from indexer.domain import AnswerSettings, Domain, EmbedderSettings, RetrievalSettings
from indexer.errors import BadInput
from indexer.store.manifest import EmbedderMark


class AdapterPin(Pinned):
    """An adapter version as a release names it."""

    name: str
    version: int
    digest: str

    @property
    def label(self) -> str:
        """The public name, `name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def engine_name(self) -> str:
        """What the engine knows it as."""
        return engine_name(self.name, self.digest)


class EmbedderPin(Pinned):
    """The embedding model that questions must go through to be compared with the snapshot."""

    settings: EmbedderSettings
    fingerprint: str


class Release(AnswerSettings, Pinned):
    """Everything that decides an answer; `base` is a digest, None where nobody has said it."""

    number: int
    domain: str
    snapshot: str
    adapter: AdapterPin | None
    retrieval: RetrievalSettings
    embedder: EmbedderPin
    demonstration_embedder: EmbedderPin | None = None
    base: str | None
    parent: int | None
    created: datetime
    note: str = ""

    @property
    def answer(self) -> AnswerSettings:
        """How it answers, apart from what it answers from."""
        return AnswerSettings(**self.model_dump(include=set(AnswerSettings.model_fields)))


def embedder_pin(domain: Domain, settings: EmbedderSettings, made: EmbedderMark) -> EmbedderPin:
    if made.name != settings.name:
        raise BadInput(
            f"{domain.name}'s snapshot was embedded by {made.name}, not by {settings.name}",
            f"Run `dslm index {domain.name}`",
        )
    return EmbedderPin(settings=settings, fingerprint=made.fingerprint)


def adapter_pin(adapter: AdapterManifest | None) -> AdapterPin | None:
    a = adapter
    return AdapterPin(name=a.name, version=a.version, digest=a.digest) if a else None


def check_format(domain: Domain, adapter: AdapterManifest | None) -> None:
    wanted = domain.answer.prompt_format
    if adapter and adapter.prompt_format != wanted:
        raise AdapterRefused(
            f"{adapter.label} was trained with the prompt format {adapter.prompt_format},"
            f" {domain.name} composes {wanted}",
            f"Set `answer.prompt_format` to {adapter.prompt_format}, or take another adapter",
        )


def base_of(
    domain: Domain, parent: str | None, adapter: AdapterManifest | None, base: str | None
) -> str | None:
    """The base's digest: as given, else the live release's, else the adapter's."""
    wanted = base or parent
    if adapter is None:
        return wanted
    if wanted and adapter.base.digest != wanted:
        raise AdapterRefused(
            f"{adapter.label} was trained on another base"
            f" ({adapter.base.name} {adapter.base.digest[:12]}) than {domain.name}'s"
            f" {wanted[:12]}",
            "Train it again on this base, or take another adapter or none",
        )
    return adapter.base.digest
