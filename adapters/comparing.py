"""Two adapter versions side by side: what they are, and how differently they change the base."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.lifecycle import Event
from adapters.manifest import AdapterManifest
from adapters.merging.deltas import Delta, Factors
from adapters.merging.joining import concatenated

_ALWAYS_DIFFER: Final = frozenset({"digest", "name", "version", "created", "files", "fingerprint"})


@dataclass(frozen=True, slots=True)
class Likeness:
    """`cosine` of the two changes of the base; sizes are their Frobenius norms.

    `apart` names the modules that differ most, with the norm of their difference.
    """

    cosine: float
    size: float
    other_size: float
    apart: tuple[tuple[str, float], ...]


def differences(one: AdapterManifest, other: AdapterManifest) -> Iterator[tuple[str, str, str]]:
    """Fields of the manifests that differ, by their dotted names, as texts."""
    mine, theirs = (_flat(manifest.model_dump(mode="json")) for manifest in (one, other))
    for name in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(name, "-"), theirs.get(name, "-")
        if a != b and name.split(".")[0] not in _ALWAYS_DIFFER:
            yield name, a, b


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{name}.{key}" if name else key)
        return found
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return {} if value is None else {name: str(value)}


def likeness(one: Path, other: Path, shown: int = 3) -> Likeness:
    """How alike the changes of two adapters of one base are, without making full matrices."""
    mine, theirs = Delta.open(one), Delta.open(other)
    sizes = [0.0, 0.0]
    apart: dict[str, float] = {}
    for stem in sorted(mine.pairs.keys() | theirs.pairs.keys()):
        pair = mine.factors(stem), theirs.factors(stem)
        for side, factors in enumerate(pair):
            sizes[side] += factors.size() if factors else 0.0
        apart[stem.rsplit(".lora_", 1)[0]] = _gap(*pair)
    total = sum(apart.values())
    scale = math.sqrt(sizes[0] * sizes[1])
    most = sorted(apart.items(), key=lambda pair: -pair[1])[:shown]
    return Likeness(
        cosine=(sizes[0] + sizes[1] - total) / (2 * scale) if scale else 0.0,
        size=math.sqrt(sizes[0]),
        other_size=math.sqrt(sizes[1]),
        apart=tuple((name, math.sqrt(gap)) for name, gap in most),
    )


def _gap(one: Factors | None, other: Factors | None) -> float:
    """The squared size of the difference; what is missing changes nothing."""
    weighted = [(sign, one_of) for sign, one_of in ((1.0, one), (-1.0, other)) if one_of]
    return concatenated(weighted).size() if weighted else 0.0


def card(
    manifest: AdapterManifest,
    events: Sequence[Event] = (),
    scores: Mapping[str, float] | None = None,
) -> str:
    """What is known about a version, as Markdown for people; its record and scores if given."""
    lines = [f"# {manifest.label}", "", manifest.note or "No note.", ""]
    lines += ["| | |", "|---|---|"]
    for name, value in _flat(
        manifest.model_dump(mode="json", exclude={"note", "files", "fingerprint"})
    ).items():
        lines.append(f"| {name.replace('_', ' ').replace('.', ': ')} | {value} |")
    lines += ["", "Files:", ""]
    lines += [f"- `{name}` sha256 `{digest}`" for name, digest in sorted(manifest.files.items())]
    if scores:
        lines += ["", "At the gate:", "", "| check | measured |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in sorted(scores.items())]
    if events:
        lines += ["", "Record:", ""]
        lines += [f"- {event.at:%Y-%m-%d %H:%M} {_told(event)}" for event in events]
    return "\n".join(lines) + "\n"


def _told(event: Event) -> str:
    where = f" by {event.domain}@{event.release}" if event.domain else ""
    return f"{event.state}{where}{f': {event.why}' if event.why else ''}"
