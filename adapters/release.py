"""Releases: what answers for a domain, pinned and numbered; LIVE names the one that answers now.

A swap, a fresh index, a new prompt and a rollback are one operation: point LIVE elsewhere.
Release files are immutable.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from adapters.live import LivePointer
from adapters.locking import exclusive
from adapters.manifest import AdapterManifest, Pinned, read_pinned, to_json
from adapters.pins import AdapterPin, EmbedderPin, adapter_pin, base_of, check_format, embedder_pin
from adapters.prompt import PromptFormat
from adapters.registry import AdapterRegistry
from indexer.domain import Domain, RetrievalSettings
from indexer.errors import BadInput, NotFound
from indexer.settings import Paths, store_errors, sync_folder
from indexer.store.manifest import read_manifest

AdapterChoice = AdapterManifest | Literal["keep"] | None


class Release(Pinned):
    """Everything that decides an answer; `base` is a digest, None where nobody has said it."""

    number: int
    domain: str
    snapshot: str
    adapter: AdapterPin | None
    prompt_format: PromptFormat
    mode: Literal["generate", "verbatim", "quote"]
    system: str
    refusal: str
    fallback: Literal["none", "quote"]
    max_tokens: int
    retrieval: RetrievalSettings
    embedder: EmbedderPin
    demonstration_embedder: EmbedderPin | None = None
    base: str | None
    parent: int | None
    created: datetime
    note: str = ""


class ReleaseStore:
    """The releases of every domain in one store; writers wait for each other."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def create(
        self,
        domain: Domain,
        *,
        snapshot: str | None = None,
        adapter: AdapterChoice = "keep",
        base: str | None = None,
        note: str = "",
        activate: bool = True,
    ) -> Release:
        """Pin a new release, and make it the one that answers unless told not to.

        Snapshot, adapter and base digest come from the live release where they are not given; the
        first release takes the adapter that domain.toml names. The rest is the domain's settings.
        """
        with self._writing(domain.name):
            parent = self.live(domain.name)
            found = snapshot or (parent.snapshot if parent else None)
            if found is None:
                raise BadInput(
                    f"The domain {domain.name} has no index to release",
                    f"Run `dslm index {domain.name}` first",
                )
            chosen = self._choose(domain, parent, adapter)
            check_format(domain, chosen)
            embedder, demonstration_embedder = self._embedders(domain, found)
            release = Release(
                number=max(self._numbers(domain.name), default=0) + 1,
                domain=domain.name,
                snapshot=found,
                adapter=adapter_pin(chosen),
                **domain.answer.model_dump(),
                retrieval=domain.retrieval,
                embedder=embedder,
                demonstration_embedder=demonstration_embedder,
                base=base_of(domain, parent.base if parent else None, chosen, base),
                parent=parent.number if parent else None,
                created=datetime.now(UTC),
                note=note,
            )
            self._write(release)
            if activate:
                self._pointer(domain.name).point(release.number)
        return release

    def get(self, domain: str, number: int) -> Release:
        """One release by number."""
        numbers = self._numbers(domain)
        if number not in numbers:
            known = f"1 to {numbers[-1]}" if numbers else "none yet"
            raise NotFound(f"{domain} has no release {number}", f"Its releases: {known}")
        return read_pinned(self._file(domain, number), Release)

    def list(self, domain: str) -> Sequence[Release]:
        """Every release of a domain, oldest first."""
        return [self.get(domain, number) for number in self._numbers(domain)]

    def live(self, domain: str) -> Release | None:
        """The release that answers now."""
        number = self._pointer(domain).number()
        return None if number is None else self.get(domain, number)

    def activate(self, domain: str, number: int) -> Release:
        """Let another release answer; activating the live one again changes nothing."""
        with self._writing(domain):
            release = self.get(domain, number)
            self._pointer(domain).point(number)
        return release

    def previous(self, domain: str) -> Release:
        """The release that answered before the live one: where `rollback` leads."""
        before = self._pointer(domain).before()
        if not before:
            raise BadInput(
                f"Nothing answered for {domain} before its live release",
                "Activate a release by its number",
            )
        return self.get(domain, before[-1])

    def rollback(self, domain: str) -> Release:
        """Let that release answer which answered before the live one."""
        with self._writing(domain):
            release = self.previous(domain)
            self._pointer(domain).point_back(release.number)
        return release

    def unchanged(self, domain: str) -> contextlib.AbstractContextManager[None]:
        """Until it ends no release of this domain is made or made to answer."""
        return self._writing(domain)

    def _writing(self, domain: str) -> contextlib.AbstractContextManager[None]:
        return exclusive(self._paths.domain(domain) / ".release.lock")

    def _file(self, domain: str, number: int) -> Path:
        return self._paths.releases(domain) / f"{number}.json"

    def _numbers(self, domain: str) -> Sequence[int]:
        files = self._paths.releases(domain).glob("[1-9]*.json")
        return sorted(int(file.stem) for file in files if file.stem.isdecimal())

    def _pointer(self, domain: str) -> LivePointer:
        return LivePointer(self._paths, domain)

    def _write(self, release: Release) -> None:
        """Publish by hard link: all of the file or nothing, and never over another's number."""
        path = self._file(release.domain, release.number)
        with store_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            try:
                with open(handle, "wb") as file:
                    os.fchmod(file.fileno(), 0o644)
                    file.write(to_json(release))
                    file.flush()
                    os.fsync(file.fileno())
                os.link(name, path)
            finally:
                os.unlink(name)
            sync_folder(path.parent)

    def _choose(
        self, domain: Domain, parent: Release | None, adapter: AdapterChoice
    ) -> AdapterManifest | None:
        if adapter != "keep":
            return adapter
        kept = parent.adapter.digest if parent and parent.adapter else None
        reference = kept if parent else domain.adapter
        return AdapterRegistry(self._paths).get(reference) if reference else None

    def _embedders(self, domain: Domain, snapshot: str) -> tuple[EmbedderPin, EmbedderPin | None]:
        """Questions must be embedded as the snapshot's passages and demonstrations were."""
        folder = self._paths.snapshot(domain.name, snapshot)
        if not folder.is_dir():
            raise NotFound(f"{domain.name} has no snapshot {snapshot}", "Run `dslm index`")
        made = read_manifest(folder)[1]
        pin, own = embedder_pin(domain, domain.embedder, made.embedder), None
        settings = domain.demonstrations.embedder
        if settings or made.demonstration_embedder:
            own = embedder_pin(domain, settings or domain.embedder, made.for_demonstrations())
        return pin, own
