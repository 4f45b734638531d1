"""The command `dslm adapters train`."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adapters.command_line import DomainName, Workplace, workplace
from adapters.training.crew import is_first
from adapters.training.options import (
    Absent,
    Accumulate,
    Alpha,
    Batch,
    Demonstrations,
    DryRun,
    Epochs,
    HeldOut,
    How,
    Method,
    Name,
    Out,
    Passages,
    Patience,
    Rank,
    Rate,
    Rows,
    Seed,
    Steps,
    Track,
    Tracker,
)
from adapters.training.showing import report_training, show
from indexer.errors import BadInput, NotFound

if TYPE_CHECKING:
    from adapters.base import BaseProfile
    from adapters.training.settings import Progress, TrainSettings
    from adapters.training.shots import ShotSettings
    from adapters.training.train import Plan, Pose

EXAMPLES = (
    "adapters train support --rows my.jsonl --name my-style --steps 40 --rate 1e-3",
    "adapters train support --rows rows/train.jsonl --validation rows/validation.jsonl --name tone",
    "adapters train support --rows my.jsonl --name shown --demonstrations 4 --passages 4",
    "adapters train support --rows pairs.jsonl --name kinder --method dpo --rate 1e-5",
    "adapters train support --rows my.jsonl --name own --method full --out own-base",
)


def train(
    context: typer.Context,
    domain: DomainName,
    rows: Rows,
    name: Name,
    method: How = Method.lora,
    validation: HeldOut = None,
    demonstrations: Demonstrations = 0,
    passages: Passages = 0,
    absent: Absent = 0.2,
    rank: Rank = 16,
    alpha: Alpha = None,
    steps: Steps = None,
    epochs: Epochs = 3.0,
    batch: Batch = 8,
    accumulate: Accumulate = 1,
    rate: Rate = None,
    patience: Patience = 3,
    seed: Seed = 0,
    tracker: Track = Tracker.none,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Train a LoRA adapter in the domain's prompt format, and store it; or a small base in full.

    Three rows are shown first, seen and learned. A killed run goes on with the same command.
    """
    from adapters.families import first_rate
    from adapters.training.extras import admit_extras
    from adapters.training.settings import TrainSettings
    from adapters.training.shots import ShotSettings

    place = workplace(context)
    _lint(rank, place)
    _check_place(method, out)
    admit_extras(method.value)
    answer = place.domain(domain).answer
    wanted = TrainSettings(
        base=place.base,
        rows=rows,
        out=out or Path(name),
        name=name,
        method=method.value,
        prompt_format=answer.prompt_format,
        system=answer.system,
        refusal=answer.refusal,
        rank=rank,
        alpha=alpha or 2 * rank,
        steps=steps,
        epochs=epochs,
        batch=batch,
        accumulate=accumulate,
        learning_rate=rate or first_rate(place.base, method.value),
        validation=validation,
        patience=patience,
        seed=seed,
        answer_tokens=answer.max_tokens if demonstrations or passages else None,
    )
    shots = ShotSettings(demonstrations, passages, absent, seed=seed)
    _train_and_keep(place, domain, wanted, shots, tracker, dry_run=dry_run)


def _train_and_keep(
    place: Workplace,
    domain: str,
    wanted: "TrainSettings",
    shots: "ShotSettings",
    tracker: Tracker,
    *,
    dry_run: bool,
) -> None:
    """Print the new version's label and digest, or the new base's folder."""
    from adapters.base import BaseProfile
    from adapters.registry import AdapterRegistry

    base = BaseProfile.read(place.base)
    run = _run_folder(place, wanted, shots, base)
    tracker = tracker if is_first() and not dry_run else Tracker.none
    with tempfile.TemporaryDirectory(prefix="dslm-train-") as staged:
        keeps = wanted.method == "full" and is_first()
        there = replace(wanted, run=run, out=wanted.out if keeps else Path(staged) / wanted.name)
        made = _train(place, domain, there, shots, tracker, dry_run)
        if not is_first():
            return
        if made is not None and not keeps:
            registry = AdapterRegistry(place.paths)
            added = registry.add(made, wanted.name, base=base, max_rank=place.max_rank)
            typer.echo(f"{added.label} {added.digest[:12]}")
        else:
            typer.echo(made or "Nothing was trained")


class _Enough(Exception):
    """A dry run has shown what it should."""


def _train(
    place: Workplace,
    domain: str,
    wanted: "TrainSettings",
    shots: "ShotSettings",
    tracker: Tracker,
    dry_run: bool,
) -> Path | None:
    from adapters.training.tracking import tracking
    from adapters.training.train import train_adapter

    def preview(plan: "Plan") -> None:
        if is_first():
            show(plan, wanted)
        if dry_run:
            raise _Enough

    with (
        tracking(tracker.value, wanted) as track,
        _posing(place, domain, wanted, shots) as pose,
    ):

        def report(progress: "Progress") -> None:
            if is_first():
                report_training(progress)
            track(progress)

        try:
            return train_adapter(wanted, report, pose, preview)
        except _Enough:
            return None


def _lint(rank: int, place: Workplace) -> None:
    """What the engine would refuse is said before hours of training."""
    if rank > place.max_rank:
        raise BadInput(
            f"The engine takes ranks up to {place.max_rank}, this adapter would have {rank}",
            f"Give --rank {place.max_rank}, or raise DSLM_MAX_LORA_RANK",
        )


def _check_place(method: Method, out: Path | None) -> None:
    """An adapter goes into the store; a base goes where the user wants it."""
    if method is Method.full and out is None:
        raise BadInput("--method full makes a base, not an adapter", "Say where: --out my-base")
    if method is not Method.full and out is not None:
        raise BadInput(
            f"--out is for --method full; --method {method.value} makes an adapter of the store",
            "Leave --out out; `dslm adapters list` shows what was stored",
        )


def _run_folder(
    place: Workplace, wanted: "TrainSettings", shots: "ShotSettings", base: "BaseProfile"
) -> Path:
    """The same for the same command over the same rows and base, so that it finds its state."""
    files = [
        path.read_bytes() for path in (wanted.rows, wanted.validation) if path and path.is_file()
    ]
    digests = [hashlib.sha256(content).hexdigest() for content in files]
    told = repr((wanted, shots, base.digest, digests))
    return place.paths.root / "training" / hashlib.sha256(told.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _posing(
    place: Workplace, domain: str, wanted: "TrainSettings", shots: "ShotSettings"
) -> "Iterator[Pose | None]":
    """The live snapshot, opened where rows are to be shown what it holds."""
    if not shots.demonstrations and not shots.passages:
        yield None
        return
    from adapters.base import BaseProfile
    from adapters.lookup import open_lookup
    from adapters.release import ReleaseStore
    from adapters.training.lessons import rendering_of
    from adapters.training.shots import Shots

    release = ReleaseStore(place.paths).live(place.domain(domain).name)
    if release is None:
        raise NotFound(f"{domain} has no live release", f"Run `dslm index {domain}` first")
    rendering = rendering_of(wanted, BaseProfile.read(place.base), frozenset())
    with open_lookup(place.paths, release) as lookup:
        yield Shots(lookup, rendering, shots).pose
