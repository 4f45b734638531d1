"""The study of the reference, on the demonstration base, in one command.

    python -m deploy.demo.study --data FOLDER_OF_BANKING77 [--out FOLDER] [--dry-run] [--small]

Indexes two domains, trains adapters on them (with and without demonstrations, three seeds),
releases each, asks every question under every condition through the service, and reports. A run
that was killed goes on with the same command: what is indexed, trained or answered stays.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.release import ReleaseStore
from deploy.demo.study_rows import (
    DEMO,
    HOUSE,
    INTENTS,
    SHOTS,
    SMALL,
    Size,
    write_house,
    write_house_rows,
    write_intents,
)
from eval.client import Client
from eval.progress import say
from eval.running import ROOT, end_like_ctrl_c, running_service, wait_ready
from indexer.domain import load_domain
from indexer.errors import BadInput, DslmError
from indexer.settings import Paths

STUDIES: Final = ("labels", "extracts")
SEEDS: Final = (1, 2, 3)
KINDS: Final = ("sft", "icl")
# Tokens of a row as it is learned: a label alone, with what is shown, an extract with passages.
LABEL, SHOWN_LABEL, EXTRACT = 36, 95, 430
# Seen on two cores: tokens learned and answers given in a second; seconds for the rest.
LEARNED, ANSWERED, ONCE = 2500.0, 5.5, 150.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command; everything lies in `folder`."""

    folder: Path
    banking: Path
    size: Size

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DSLM_STORE": str(self.folder / "store"),
            "DSLM_DOMAINS": str(self.folder / "domains"),
            "DSLM_MAX_LORA_RANK": "16",
        }


@dataclass(frozen=True, slots=True)
class Training:
    """One adapter: of a domain, one way, one seed."""

    domain: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.domain}-{self.kind}-{self.seed}"

    def options(self, run: Run) -> dict[str, str]:
        """Of `dslm adapters train`. Of the house both kinds of rows come with what they show."""
        size, of_labels = run.size, self.domain == INTENTS
        rows = f"{INTENTS}.jsonl" if of_labels else f"{HOUSE}-{self.kind}.jsonl"
        told = {
            "rows": str(run.folder / rows),
            "name": self.name,
            "steps": str(size.label_steps if of_labels else size.extract_steps),
            "batch": str(size.batch if of_labels else size.extract_batch),
            "rate": "1.5e-3",
            "rank": "8",
            "seed": str(self.seed),
        }
        shows = of_labels and self.kind == "icl"
        return {**told, "demonstrations": str(SHOTS)} if shows else told


def trainings() -> Iterator[Training]:
    """In the order of the releases that the studies name: after the bare base as number 1."""
    for domain in (INTENTS, HOUSE):
        for kind in KINDS:
            for seed in SEEDS:
                yield Training(domain, kind, seed)


def estimate(size: Size) -> list[tuple[str, float]]:
    """Seconds by part, on two cores that have nothing else to do."""
    labels = 3 * size.label_steps * size.batch * (LABEL + SHOWN_LABEL)
    extracts = 6 * size.extract_steps * size.extract_batch * EXTRACT
    answers = size.asked * (2 * 2 + 4 * 3 + 1 + 3) + size.questions * (2 + 2 * 2 + 5 * 3)
    return [
        ("index both domains, start the service", ONCE + size.pool / 40),
        ("train on labels, 6 adapters", labels / LEARNED),
        ("train on extracts, 6 adapters", extracts / LEARNED),
        (f"ask for {answers} answers", answers / ANSWERED),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every question has its answer."""
    end_like_ctrl_c()
    run, dry = _parse(arguments)
    told = estimate(run.size)
    for what, seconds in told:
        say(f"{seconds / 60:5.1f} min  {what}")
    say(f"{sum(seconds for _, seconds in told) / 60:5.1f} min  in all, about, on two idle cores")
    if dry:
        return 0
    try:
        return _all(run)
    except DslmError as error:
        say(f"error: {error}")
        return error.exit_code


def _all(run: Run) -> int:
    began = time.monotonic()
    _prepare(run)
    for one in trainings():
        if not (run.folder / "trained" / one.name).is_file():
            _train(run, one)
    _release(run)
    with running_service(run.folder, run.environment) as service:

        async def ready() -> None:
            async with Client(service.url) as client:
                await wait_ready(client, service.process, service.log)

        asyncio.run(ready())
        codes = [_ask(run, name, service.url) for name in STUDIES]
    say(f"{(time.monotonic() - began) / 60:.1f} min; the reports: {run.folder}")
    return max(codes)


def _prepare(run: Run) -> None:
    """Rows and indexes. Done once: a changed size wants another folder."""
    marker = run.folder / "prepared"
    if marker.is_file():
        if marker.read_text("utf-8") != repr(run.size):
            raise BadInput(f"{run.folder} was made in another size", "Give another --out")
        return
    shutil.rmtree(run.folder / "domains", ignore_errors=True)
    write_intents(run.banking, run.folder, run.size)
    write_house(run.folder, run.size)
    _dslm(run, "index", INTENTS, HOUSE)
    write_house_rows(run.folder, run.size)
    for name in STUDIES:
        shutil.copyfile(DEMO / "studies" / f"{name}.yaml", run.folder / f"{name}.yaml")
    marker.write_text(repr(run.size), encoding="utf-8")


def _train(run: Run, one: Training) -> None:
    options = [part for name, value in one.options(run).items() for part in (f"--{name}", value)]
    _dslm(run, "adapters", "train", one.domain, *options)
    (run.folder / "trained").mkdir(exist_ok=True)
    (run.folder / "trained" / one.name).touch()


def _release(run: Run) -> None:
    """Release 1 is the bare base, of the index; then one for each training, in their order."""
    store = ReleaseStore(Paths(run.folder / "store"))
    wanted: dict[str, list[Training]] = {INTENTS: [], HOUSE: []}
    for one in trainings():
        wanted[one.domain].append(one)
    for domain, made in wanted.items():
        load_domain(run.folder / "domains" / domain)
        for one in made[len(store.list(domain)) - 1 :]:
            _dslm(run, "release", "create", domain, "--adapter", f"{one.name}@1")


def _ask(run: Run, study: str, url: str) -> int:
    say(f"asking {study}")
    folder = run.folder / f"{study}-answers"
    command = ["eval", "run", str(run.folder / f"{study}.yaml"), "--url", url, "--out", str(folder)]
    return _called(run.environment, *command, "--html", str(run.folder / f"{study}.html"))


def _dslm(run: Run, *words: str) -> None:
    code = _called(run.environment, *words)
    if code:
        raise BadInput(f"`dslm {' '.join(words[:3])}` ended with {code}", "See above")


def _called(environment: Mapping[str, str], *words: str) -> int:
    command = [sys.executable, "-m", "dslm", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=False
    ).returncode


def _parse(arguments: Sequence[str] | None) -> tuple[Run, bool]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="with train.jsonl and test.jsonl")
    parser.add_argument("--out", type=Path, default=Path("store/study"), help="where all lies")
    parser.add_argument("--small", action="store_true", help="a few minutes: shows that it works")
    parser.add_argument("--dry-run", action="store_true", help="say how long it takes, and end")
    told = parser.parse_args(arguments)
    return Run(
        told.out.resolve(), told.data.resolve(), SMALL if told.small else Size()
    ), told.dry_run


if __name__ == "__main__":
    sys.exit(main())
