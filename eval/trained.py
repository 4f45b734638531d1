"""What training is worth: labels learned, the version released, and asked through the service.

Training runs as `dslm adapters train` in a process of its own, one seed after the other; what is
asked goes over HTTP. Before and after are asked the same rows, so that they can be paired.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.client import Client
from eval.comparing import LEVEL, holm, paired
from eval.labels import LABEL_TOKENS, Example, draw, read_examples, turns
from eval.progress import phase, watched
from eval.report import Grid
from eval.running import ROOT
from eval.stats import Share
from indexer.errors import BadInput, DslmError

DOMAIN, ADAPTER = "intents", "intent-labels"
BEFORE, SHOWN = "base, before", "base, before, with solved examples"
_TOML = """[answer]
mode = "generate"
[retrieval]
passages = 0
demonstrations = {shots}
min_demonstration_score = 0.0
"""


class TrainingEnded(DslmError):
    """The training command failed; its last line says why."""


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """0 of `labels`, `rows` and `tests` means all; what is drawn is drawn by `draw`.

    `shots`: solved examples in front of each question, in training and after; found among the rows
    learned, never the row itself.
    """

    folder: Path
    labels: int = 0
    rows: int = 0
    tests: int = 600
    shots: int = 4
    seeds: tuple[int, ...] = (1, 2, 3)
    method: str = "qlora"
    steps: int = 300
    batch: int = 8
    rate: float = 1e-3
    rank: int = 16
    draw: int = 1


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned and what is asked; `labels` are those of both."""

    learned: tuple[Example, ...]
    asked: tuple[Example, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """One seed's version, `name@n`, and the seconds its training took."""

    seed: int
    label: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Arm:
    """The answers under one condition, and the release that gave them."""

    name: str
    release: str
    answers: tuple[str, ...]


class WrongRelease(DslmError):
    """An answer came from another version: the share would mean nothing."""


def read_material(settings: TrialSettings) -> Material:
    """Rows of the chosen labels; BadInput if there are none."""
    chance = random.Random(settings.draw)
    pool = read_examples(settings.folder / "train.jsonl")
    tests = read_examples(settings.folder / "test.jsonl")
    known = sorted({one.label for one in pool})
    labels = sorted(chance.sample(known, min(settings.labels or len(known), len(known))))
    kept = [[one for one in rows if one.label in set(labels)] for rows in (pool, tests)]
    if not all(kept):
        raise BadInput(
            f"{settings.folder} has no rows to learn or none to ask",
            "Give a folder with train.jsonl and test.jsonl of the same labels by --data",
        )
    learned, asked = (
        draw(rows, wanted or len(rows), chance)
        for rows, wanted in zip(kept, (settings.rows, settings.tests), strict=True)
    )
    return Material(tuple(learned), tuple(asked), tuple(labels))


def write_workplace(material: Material, folder: Path, shots: int) -> dict[str, str]:
    """A domain whose solved examples are the rows to learn; the settings that name both."""
    place = folder / "domains" / DOMAIN
    (place / "documents").mkdir(parents=True)
    (place / "domain.toml").write_text(_TOML.format(shots=shots), encoding="utf-8")
    listed = "\n".join(material.labels)
    (place / "documents" / "labels.md").write_text(f"# Labels\n\n{listed}\n", encoding="utf-8")
    rows = [
        {"messages": [*turns((), one.text), {"role": "assistant", "content": one.label}]}
        for one in material.learned
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    (place / "demonstrations.jsonl").write_text(text if shots else "", encoding="utf-8")
    return {"DSLM_DOMAINS": str(folder / "domains"), "DSLM_STORE": str(folder / "store")}


def train(
    settings: TrialSettings, seed: int, folder: Path, environment: Mapping[str, str]
) -> Trained:
    """One version by `dslm adapters train`, verified and stored; its words go to our stderr."""
    wanted: dict[str, Any] = {
        "rows": folder / "rows.jsonl",
        "name": ADAPTER,
        "method": settings.method,
        "steps": settings.steps,
        "batch": settings.batch,
        "rate": settings.rate,
        "rank": settings.rank,
        "seed": seed,
        "demonstrations": settings.shots,
    }
    options = [part for name, value in wanted.items() for part in (f"--{name}", str(value))]
    began = time.monotonic()
    said = _dslm(environment, f"Training with seed {seed}", "adapters", "train", DOMAIN, *options)
    return Trained(seed, said.split()[0], time.monotonic() - began)


def index(environment: Mapping[str, str]) -> None:
    """Release 1: the base, with the solved examples that training and questions are shown."""
    _dslm(environment, "Indexing", "index", DOMAIN)


def _dslm(environment: Mapping[str, str], what: str, *words: str) -> str:
    """What the command prints; TrainingEnded if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "dslm", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TrainingEnded(f"{what} ended with code {done.returncode}", "See above")
    return done.stdout


async def ask_all(
    client: Client, material: Material, versions: Sequence[Trained], shots: int
) -> list[Arm]:
    """The base first, then each version, released and asked in turn."""
    arms = [await _arm(client, material, BEFORE, None, shown=False)]
    if shots:
        arms.append(await _arm(client, material, SHOWN, None, shown=True))
    for one in versions:
        await client.set_adapter(DOMAIN, one.label)
        name = f"{one.label}, seed {one.seed}"
        arms.append(await _arm(client, material, name, one.label, shown=bool(shots)))
    return arms


async def _arm(
    client: Client, material: Material, name: str, version: str | None, *, shown: bool
) -> Arm:
    parts = {"passages": False, "demonstrations": shown, "adapter": version is not None}
    options = {"temperature": 0, "max_tokens": LABEL_TOKENS, "dslm": parts}
    with phase(f"asking {name}", len(material.asked)) as advance:
        asked = [
            watched(client.chat(DOMAIN, turns((), one.text), options), advance)
            for one in material.asked
        ]
        answers = await asyncio.gather(*asked)
    wrong = [one.dslm for one in answers if one.dslm.get("adapter") != version]
    if wrong:
        raise WrongRelease(f"Asked {version}, and {wrong[0].get('adapter')} answered")
    return Arm(name, str(answers[0].dslm["release"]), tuple(one.text.strip() for one in answers))


def right(arm: Arm, material: Material) -> list[float]:
    """1 for each answer that is its label exactly, else 0."""
    pairs = zip(arm.answers, material.asked, strict=True)
    return [float(answer == one.label) for answer, one in pairs]


def grids(arms: Sequence[Arm], trained: Sequence[Trained], material: Material) -> list[Grid]:
    """Accuracy with Wilson's intervals, and each version against the base on the same rows."""
    scores = {arm.name: right(arm, material) for arm in arms}
    before = len(arms) - len(trained)
    return [_accuracy(arms, trained, material, scores), _differences(scores, before)]


def _accuracy(
    arms: Sequence[Arm],
    trained: Sequence[Trained],
    material: Material,
    scores: Mapping[str, Sequence[float]],
) -> Grid:
    before = len(arms) - len(trained)
    seconds = [*["-"] * before, *(f"{one.seconds:.0f}" for one in trained)]
    rows = [
        (arm.name, arm.release, took, _share(scores[arm.name]), _share(_known(arm, material)))
        for arm, took in zip(arms, seconds, strict=True)
    ]
    means = [sum(scores[arm.name]) / len(scores[arm.name]) for arm in arms[before:]]
    spread = f"{min(means):.3f} to {max(means):.3f}"
    rows.append(("mean of the seeds", "", "", f"{sum(means) / len(means):.3f} ({spread})", ""))
    title = (
        f"{len(material.labels)} labels, {len(material.learned)} rows learned,"
        f" {len(material.asked)} asked: share (right/all; 95 % interval, Wilson)"
    )
    head = ("condition", "release", "s to train and store", "right label", "any of the labels")
    return Grid(title, head, tuple(rows))


def _known(arm: Arm, material: Material) -> list[float]:
    return [float(answer in material.labels) for answer in arm.answers]


def _share(scores: Sequence[float]) -> str:
    return str(Share.of(score == 1.0 for score in scores))


def _differences(scores: Mapping[str, Sequence[float]], before: int) -> Grid:
    """Each version less the base that was shown the same; p-values adjusted for their number."""
    names = list(scores)
    base, after = names[before - 1], names[before:]
    told = [paired(scores[name], scores[base]) for name in after]
    rows = []
    sure = holm([p for _, _, p in told])
    for name, (gain, (low, high), _), p in zip(after, told, sure, strict=True):
        better = (name if gain > 0 else base) if p < LEVEL else "neither, surely"
        rows.append((name, f"{gain:+.3f} ({low:+.3f} to {high:+.3f})", f"{p:.2g}", better))
    head = ("after", "gain (95 %, bootstrap)", "p (McNemar exact, Holm)", "better")
    return Grid(f"After against: {base}, on the same rows", head, tuple(rows))
