"""Asks both releases every question of the gate, over HTTP, and draws the conclusion."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters.gating import GateReport, GateReports
from adapters.release import ReleaseStore
from eval.client import Client, ServiceRefused
from eval.gate.bounds import fewest
from eval.gate.sets import (
    BARE,
    LIVE,
    NEW,
    Attack,
    GateFile,
    SetName,
    attacks,
    read_gate_file,
    studies,
)
from eval.gate.verdict import verdict
from eval.study.examples import Embed
from eval.study.results import Record, Results
from eval.study.run import questions, run_study
from eval.study.spec import Study
from indexer.domain import Domain
from indexer.errors import BadInput


@dataclass(frozen=True, slots=True)
class Pair:
    """The release that is to be let in and the one that answers now, by number."""

    domain: Domain
    release: int
    against: int

    @property
    def models(self) -> tuple[str, str]:
        """As a request names them."""
        return f"{self.domain.name}@{self.release}", f"{self.domain.name}@{self.against}"


@dataclass(frozen=True, slots=True)
class Gate:
    """What will be asked of a pair; `folder` keeps every answer."""

    pair: Pair
    file: GateFile
    studies: Mapping[SetName, Study]
    attacks: Sequence[Attack]
    folder: Path


def open_gate(
    store: ReleaseStore, pair: Pair, *, again: bool = False, key_env: str | None = None
) -> Gate:
    """BadInput for sets that are missing or could never show what is demanded."""
    for number in (pair.release, pair.against):
        store.get(pair.domain.name, number)
    if pair.release == pair.against:
        raise BadInput(f"{pair.models[0]} is live itself", "Name a release that waits")
    folder = GateReports(store.paths, pair.domain.name).answers(pair.release, pair.against)
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    file = read_gate_file(pair.domain)
    found = list(attacks(file.injections)) if file.injections else []
    return Gate(pair, file, studies(file, pair.models, folder, key_env), found, folder)


def plan(gate: Gate, embed: Embed) -> dict[SetName, int]:
    """How many answers each set takes; BadInput for too few questions to show anything."""
    counts = {name: len(questions(study, embed)) for name, study in gate.studies.items()}
    settings = gate.pair.domain.gate
    sets: tuple[tuple[SetName, float], ...] = (("general", settings.general_margin),)
    if settings.domain != "better":
        sets += (("domain", settings.domain_margin),)
    for name, margin in sets:
        asked = counts[name] // (2 * len(gate.studies[name].seeds))
        least = fewest(margin, settings.confidence)
        if asked < least:
            raise BadInput(
                f"{asked} {name} questions cannot show a margin of {margin:g},"
                " even where every answer is the same",
                f"Give at least {least}, or set `gate.{name}_margin` higher",
            )
    return counts


async def measure(gate: Gate, url: str, embed: Embed) -> tuple[dict[SetName, list[Record]], int]:
    """Every answer, asked for where it is not there yet; and how many questions were refused."""
    answers: dict[SetName, list[Record]] = {}
    refused = 0
    for name, study in gate.studies.items():
        await _greet(study, url)
        with Results(gate.folder / f"{name}-{study.digest()[:12]}", study) as results:
            refused += await run_study(study, results, url, embed)
        answers[name] = results.ordered()
        _check_releases(gate.pair, answers[name], url)
    return answers, refused


def conclude(
    store: ReleaseStore, gate: Gate, answers: Mapping[SetName, list[Record]]
) -> GateReport:
    """The report, written where activation looks for it."""
    pair, reports = gate.pair, GateReports(store.paths, gate.pair.domain.name)
    checks = verdict(answers, gate.attacks, pair.domain.gate)
    report = GateReport(
        domain=pair.domain.name,
        release=pair.release,
        against=pair.against,
        release_digest=reports.release_digest(pair.release),
        against_digest=reports.release_digest(pair.against),
        settings=pair.domain.gate,
        questions={name: study.digest() for name, study in gate.studies.items()},
        answers=sum(len(told) for told in answers.values()),
        made=datetime.now(UTC),
        passed=all(check.passed for check in checks),
        checks=checks,
    ).sealed()
    reports.write(report)
    return report


def run_gate(
    store: ReleaseStore, gate: Gate, url: str, embed: Embed
) -> tuple[GateReport | None, int]:
    """The report; None and the number of refused questions where the answers are not whole."""
    answers, refused = asyncio.run(measure(gate, url, embed))
    return (None, refused) if refused else (conclude(store, gate, answers), 0)


async def _greet(study: Study, url: str) -> None:
    """Ask both for one token: a release that cannot answer at all is said before the work."""
    hello = [{"role": "user", "content": "Hello"}]
    for one in study.conditions:
        key = os.environ.get(one.key_env) if one.key_env else None
        async with Client(url, key=key) as client:
            try:
                await client.chat(one.model, hello, {"max_tokens": 1, "dslm": BARE})
            except ServiceRefused as error:
                raise BadInput(
                    f"{one.model} does not answer at {url}: {error}", "See above"
                ) from error


def _check_releases(pair: Pair, records: Sequence[Record], url: str) -> None:
    """The service may have another store than this command."""
    numbers = {NEW: str(pair.release), LIVE: str(pair.against)}
    for one in records:
        if one.release is not None and one.release != numbers[one.condition]:
            raise BadInput(
                f"{url} answered with release {one.release} instead of {numbers[one.condition]}",
                "Let command and service use the same DSLM_STORE",
            )
