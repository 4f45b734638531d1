"""A new release from its parts: what is given, and the rest from the live one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from adapters.errors import AdapterRefused
from adapters.lifecycle import Lifecycle
from adapters.manifest import AdapterManifest, Pinned
from adapters.pins import (
    EmbedderPin,
    Release,
    adapter_pin,
    base_of,
    check_format,
    embedder_pin,
)
from adapters.registry import AdapterRegistry
from indexer.domain import Domain, Settings
from indexer.errors import BadInput, NotFound
from indexer.settings import Paths, store_errors
from indexer.store.manifest import read_manifest

AdapterChoice = AdapterManifest | Literal["keep"] | None
Section = TypeVar("Section", bound=Settings)


class Changes(Pinned):
    """Settings that are to differ from the live release's, by their names in `domain.toml`."""

    answer: dict[str, Any] = Field(default_factory=dict)
    retrieval: dict[str, Any] = Field(default_factory=dict)

    def applied(self, domain: Domain, parent: Release | None) -> Domain:
        """The domain with the live release's settings, changed. BadInput names what is wrong."""
        answer = parent.answer if parent else domain.answer
        retrieval = parent.retrieval if parent else domain.retrieval
        changed = {
            "answer": _changed(answer, "answer", self.answer),
            "retrieval": _changed(retrieval, "retrieval", self.retrieval),
        }
        return domain.model_copy(update=changed)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a release is to be made of; `snapshot`: an id or its beginning, `adapter` None: none."""

    snapshot: str | None = None
    adapter: AdapterChoice = "keep"
    changes: Changes | None = None
    base: str | None = None
    note: str = ""


def make(
    paths: Paths, domain: Domain, parent: Release | None, number: int, parts: Parts
) -> Release:
    """Snapshot, adapter and base come from the live release where they are not given; the first
    release takes the adapter that domain.toml names. Without `changes` the settings are the
    domain's as they are now.
    """
    if parts.changes is not None:
        domain = parts.changes.applied(domain, parent)
    snapshot = _snapshot(paths, domain.name, parts.snapshot or (parent.snapshot if parent else ""))
    adapter = _choose(paths, domain, parent, parts.adapter)
    check_format(domain, adapter)
    embedder, demonstration_embedder = _embedders(paths, domain, snapshot)
    return Release(
        number=number,
        domain=domain.name,
        snapshot=snapshot,
        adapter=adapter_pin(adapter),
        **domain.answer.model_dump(),
        retrieval=domain.retrieval,
        embedder=embedder,
        demonstration_embedder=demonstration_embedder,
        base=base_of(domain, parent.base if parent else None, adapter, parts.base),
        parent=parent.number if parent else None,
        created=datetime.now(UTC),
        note=parts.note,
    )


def difference(old: Release, new: Release) -> dict[str, tuple[Any, Any]]:
    """What the two pin otherwise: value in `old` and in `new`, by name."""
    left, right = (_flat(one.model_dump(mode="json", exclude=_OWN)) for one in (old, new))
    names = [*left, *(name for name in right if name not in left)]
    return {n: (left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)}


_OWN = {"number", "parent", "created", "note"}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _snapshot(paths: Paths, domain: str, name: str) -> str:
    """The id that is or begins with `name`; never anything that leads out of the folder."""
    if not name:
        raise BadInput(f"The domain {domain} has no index to release", f"Run `dslm index {domain}`")
    home = paths.snapshots(domain)
    with store_errors(home):
        ids = [f.name for f in home.iterdir() if f.is_dir()] if home.is_dir() else []
    like = [one for one in ids if one.startswith(name) and not one.startswith(".")]
    if name not in like and len(like) != 1:
        several = f": {', '.join(sorted(like))}" if like else ""
        remedy = f"See `dslm snapshot list {domain}`"
        message = f"{domain} has {'several snapshots' if like else 'no snapshot'} {name}{several}"
        raise BadInput(message, remedy) if like else NotFound(message, remedy)
    return name if name in like else like[0]


def _choose(
    paths: Paths, domain: Domain, parent: Release | None, adapter: AdapterChoice
) -> AdapterManifest | None:
    if adapter != "keep":
        return _no_draft(paths, adapter)
    kept = parent.adapter.digest if parent and parent.adapter else None
    reference = kept if parent else domain.adapter
    return AdapterRegistry(paths).get(reference) if reference else None


def _no_draft(paths: Paths, adapter: AdapterManifest | None) -> AdapterManifest | None:
    if adapter and Lifecycle(paths).state(adapter.digest, is_live=False) == "draft":
        raise AdapterRefused(
            f"{adapter.label} is a draft", f"Run `dslm adapters verify {adapter.label}` first"
        )
    return adapter


def _embedders(
    paths: Paths, domain: Domain, snapshot: str
) -> tuple[EmbedderPin, EmbedderPin | None]:
    """Questions must be embedded as the snapshot's passages and demonstrations were."""
    made = read_manifest(paths.snapshot(domain.name, snapshot))[1]
    pin, own = embedder_pin(domain, domain.embedder, made.embedder), None
    settings = domain.demonstrations.embedder
    if settings or made.demonstration_embedder:
        own = embedder_pin(domain, settings or domain.embedder, made.for_demonstrations())
    return pin, own


def _changed(settings: Section, name: str, changes: Mapping[str, Any]) -> Section:
    try:
        return type(settings).model_validate(_merged(settings.model_dump(), changes))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = f"{name}.{'.'.join(str(part) for part in first['loc'])}"
        if first["type"] == "extra_forbidden":
            known = [f"{name}.{one}" for one in type(settings).model_fields]
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean `{near[0]}`? " if near else ""
            message = f"There is no setting `{key}`"
            raise BadInput(message, f"{hint}Known: {', '.join(known)}") from error
        message = f"`{key}` = {first['input']!r:.80} is not allowed"
        raise BadInput(message, first["msg"].removeprefix("Value error, ")) from error


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sections within sections keep what is not changed in them."""
    merged = dict(old)
    for name, value in changes.items():
        inner = old.get(name)
        if isinstance(inner, dict) and isinstance(value, dict):
            value = _merged(inner, value)
        merged[name] = value
    return merged
