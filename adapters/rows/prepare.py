"""From files of examples to a folder of training rows, everything accounted for and hashed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from adapters.rows.example import Example, Fault
from adapters.rows.facts import LabelFacts, labels, languages
from adapters.rows.pool import Pool, PoolSettings
from adapters.rows.reading import read_examples, read_questions
from adapters.rows.splits import Shares, draw, split
from indexer.errors import BadInput
from indexer.settings import store_errors, write_atomically

MANIFEST: Final = "manifest.json"
REJECTED: Final = "rejected.jsonl"
# Part of what decides the rows: raise it when reading, cleaning or splitting changes.
ROWS_VERSION: Final = "2"


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """`validation` and `test` are splits that are there already; `against` is never learned.

    `general` is mixed into the training rows until `share` of them are the domain's.
    """

    rows: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    against: tuple[Path, ...] = ()
    general: tuple[Path, ...] = ()
    share: float = 0.8
    shares: Shares = field(default_factory=Shares)
    pool: PoolSettings = field(default_factory=PoolSettings)
    seed: int = 0


class Prepared(BaseModel):
    """What came of it: the manifest that lies beside the rows; `files` maps names to sha256."""

    model_config = ConfigDict(frozen=True)

    version: str = ROWS_VERSION
    inputs: dict[str, str]
    settings: dict[str, float | int | str]
    rows: dict[str, int]
    files: dict[str, str] = {}
    rejected: dict[str, int]
    masked: dict[str, int]
    languages: dict[str, int]
    labels: LabelFacts | None
    kinds: dict[str, int]
    synthetic: int
    domain_share: float


@dataclass(frozen=True, slots=True)
class Preparation:
    """Examples by split, and what was left out."""

    splits: dict[str, list[Example]]
    faults: list[Fault]
    facts: Prepared


def prepare(settings: PrepareSettings) -> Preparation:
    """Read, mask, drop, split and mix; writes nothing. BadInput for files that cannot be used."""
    _check(settings)
    pool = Pool(settings.pool)
    pool.learn_template(_read((*settings.rows, *settings.test, *settings.validation)))
    for path in settings.against:
        pool.reserve(read_questions(path))
    given = {"test": pool.take(_read(settings.test))}
    given["validation"] = pool.take(_read(settings.validation))
    mine = pool.take(_read(settings.rows))
    splits = _dealt(pool, given, mine, settings)
    domain = len(splits["train"])
    if not domain:
        raise BadInput(
            f"No row of {settings.rows[0]} is left for training", _most_common(pool.faults)
        )
    general = pool.take(_read(settings.general))
    wanted = round(domain * (1 - settings.share) / settings.share) if general else 0
    splits["train"] += draw([pool.kept[number] for number in general], wanted, settings.seed)
    return Preparation(splits, pool.faults, _facts(settings, pool, splits, domain))


def write(prepared: Preparation, out: Path) -> Prepared:
    """Put rows, rejected ones and the manifest into a new folder; the manifest comes last."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is not an empty folder", "Name another, or delete it")
    files: dict[str, str] = {}
    with store_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, examples in prepared.splits.items():
            if examples:
                content = _lines(one.row() for one in examples)
                files[f"{name}.jsonl"] = hashlib.sha256(content).hexdigest()
                write_atomically(out / f"{name}.jsonl", content)
        write_atomically(
            out / REJECTED,
            _lines({"place": f.place, "kind": f.kind, "reason": f.reason} for f in prepared.faults),
        )
        facts = prepared.facts.model_copy(update={"files": files})
        write_atomically(out / MANIFEST, (facts.model_dump_json(indent=2) + "\n").encode())
    return facts


def _check(settings: PrepareSettings) -> None:
    if not 0 < settings.share <= 1:
        raise BadInput(f"A domain share of {settings.share} is none", "Give one above 0, up to 1")
    held = settings.shares.validation + settings.shares.test
    if min(settings.shares.validation, settings.shares.test) < 0 or held >= 1:
        raise BadInput(f"Held-out shares of {held} leave nothing to train on", "Give less than 1")
    if not 0.3 <= settings.pool.near <= 1:
        raise BadInput(f"near = {settings.pool.near} is no similarity", "Give .3 to 1")


def _read(paths: Sequence[Path]) -> Iterator[Example | Fault]:
    for path in paths:
        yield from read_examples(path)


def _dealt(
    pool: Pool, given: dict[str, list[int]], mine: list[int], settings: PrepareSettings
) -> dict[str, list[Example]]:
    """The splits that were given, and the own rows dealt over those that were not.

    A row whose question stands in a given split is left out: it would give that away.
    """
    held = {number for numbers in given.values() for number in numbers}
    own = [number for number in mine if _origin(pool, number) not in held]
    for number in set(mine) - set(own):
        place, other = pool.kept[number].place, pool.kept[_origin(pool, number)].place
        pool.faults.append(Fault(place, "across splits", f"asks what {other} asks"))
    shares = Shares(
        0.0 if settings.validation else settings.shares.validation,
        0.0 if settings.test else settings.shares.test,
    )
    examples = [pool.kept[number] for number in own]
    place_of = {number: at for at, number in enumerate(own)}
    kin = {at: place_of.get(_origin(pool, number), at) for number, at in place_of.items()}
    dealt = split(examples, kin, shares, settings.seed)
    splits = {name: [examples[at] for at in numbers] for name, numbers in dealt.items()}
    for name, numbers in given.items():
        splits[name] += [pool.kept[number] for number in numbers]
    return splits


def _origin(pool: Pool, number: int) -> int:
    """The earliest example of those that ask alike, one like the next."""
    while pool.kin[number] != number:
        number = pool.kin[number]
    return number


def _facts(
    settings: PrepareSettings, pool: Pool, splits: dict[str, list[Example]], domain: int
) -> Prepared:
    everything = [example for examples in splits.values() for example in examples]
    paths = (
        *settings.rows,
        *settings.validation,
        *settings.test,
        *settings.against,
        *settings.general,
    )
    return Prepared(
        inputs={
            f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        },
        settings={
            "share": settings.share,
            "validation": settings.shares.validation,
            "test": settings.shares.test,
            "near": settings.pool.near,
            "masked": ", ".join(settings.pool.kinds),
            "seed": settings.seed,
        },
        rows={name: len(examples) for name, examples in splits.items()},
        rejected=dict(Counter(fault.kind for fault in pool.faults)),
        masked=dict(pool.masked),
        languages=dict(languages(everything)),
        labels=labels(everything),
        kinds=dict(Counter(example.kind for example in everything)),
        synthetic=sum(example.synthetic for example in everything),
        domain_share=domain / len(splits["train"]),
    )


def _most_common(faults: Sequence[Fault]) -> str:
    if not faults:
        return "The file is empty"
    kind, count = Counter(fault.kind for fault in faults).most_common(1)[0]
    example = next(fault for fault in faults if fault.kind == kind)
    return f"{count} were left out as '{kind}', the first at {example.place}: {example.reason}"


def _lines(rows: Iterable[object]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
