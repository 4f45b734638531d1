"""What `dslm index` does: runs an index job, says how it goes, releases the result.

The service starts it as a child process and reads its JSON lines; it never runs inside the service.
"""

import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import orjson

from adapters.errors import BaseRefused
from adapters.registry import AdapterRegistry
from adapters.release import AdapterChoice, Release, ReleaseStore
from adapters.versioning import open_store
from indexer.domain import Domain
from indexer.job.run import IndexJob, IndexResult, Progress, silent
from indexer.job.runners import RunnerName, named_runner
from indexer.settings import Paths
from service.engines.bases import ServedBase, serve
from service.engines.entries import entry_of
from service.settings import ServiceSettings
from service.shipped import register_adapters, shipped_names

Report = Callable[[Progress], None]


class Indexing:
    """Indexes domains one after the other and prints to `output`."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        as_json: bool = False,
        runner: RunnerName = "local",
        emptied: bool = False,
        output: TextIO | None = None,
    ) -> None:
        self._settings = settings
        self._runner = named_runner(runner)
        self._paths = Paths(settings.store)
        self._as_json = as_json
        self._emptied = emptied
        self._output = output or sys.stdout

    def run(self, domain: Domain) -> Release:
        """Index and release; the release is the live one if nothing had changed."""
        base = self._base(domain)
        adapter = self._adapter(domain, base)
        open_store(self._paths.root)
        with self._reporting(domain.name) as report, stopping() as stopped:
            job = self._job(domain, report)
            result = dataclasses.replace(job, runner=self._runner, stopped=stopped).run()
        release, is_new = self._release(domain, result, base, adapter)
        self._tell(domain, result, release, is_new)
        return release

    def _job(self, domain: Domain, report: Report = silent) -> IndexJob:
        return IndexJob(domain, self._paths, report, emptied=self._emptied)

    def plan(self, domain: Domain) -> None:
        """Print what `run` would do and change nothing."""
        plan = dataclasses.asdict(self._job(domain).plan())
        if self._as_json:
            self._write({"event": "plan", "domain": domain.name, **plan})
        else:
            self._say_plan(domain.name, plan)

    def _say_plan(self, name: str, plan: dict[str, Any]) -> None:
        for kind in ("new", "changed", "gone"):
            for path in plan[kind]:
                self._say(f"{name}: {kind} {path}")
        for old, path in plan["renamed"].items():
            self._say(f"{name}: renamed {old} to {path}")
        for rejected in plan["quarantined"]:
            self._say(f"{name}: left out {rejected['path']}: {rejected['reason']}")
        kinds = ("new", "changed", "renamed", "gone", "unchanged", "quarantined")
        counts = ", ".join(f"{len(plan[kind])} {kind}" for kind in kinds)
        by = "as in earlier runs" if plan["measured"] else "at a common speed; no run to go by yet"
        self._say(
            f"{name}: {counts}; {plan['demonstrations']} demonstrations;"
            f" about {plan['seconds']:.0f} s ({by})"
        )

    def _base(self, domain: Domain) -> ServedBase | None:
        """None if it is not here: indexing needs no base, and the service will say so."""
        entry = entry_of(self._settings, domain)
        try:
            return serve(entry, self._settings)
        except BaseRefused:
            return None

    def _adapter(self, domain: Domain, base: ServedBase | None) -> AdapterChoice:
        """Chosen before the work, so that an unknown name costs none; None for another base's."""
        first = ReleaseStore(self._paths).live(domain.name) is None
        if not first or not domain.adapter or not base:
            return "keep"
        register_adapters(self._settings, [base.profile] if base.profile else [], self._say)
        registry = AdapterRegistry(self._paths)
        left_out = shipped_names(self._settings) - {known.name for known in registry.list()}
        name = domain.adapter.partition("@")[0]
        found = None if name in left_out else registry.get(domain.adapter)
        if found and found.base.digest == base.digest:
            return found
        self._say(f"{domain.name}: answers without {domain.adapter}, which is for another base")
        return None

    def _release(
        self,
        domain: Domain,
        result: IndexResult,
        base: ServedBase | None,
        adapter: AdapterChoice,
    ) -> tuple[Release, bool]:
        store = ReleaseStore(self._paths)
        live = store.live(domain.name)
        # Where there is a gate, nothing new answers before it was measured against what answers.
        wait = domain.publish == "wait" or (domain.is_gated and live is not None)
        newest = store.list(domain.name)[-1:] if wait else []
        for release in [*newest, *([live] if live else [])]:
            if is_same(release, domain, result.snapshot):
                return release, False
        digest = base.digest if base and not live else None
        note = f"{result.documents} documents, {result.demonstrations} demonstrations"
        made = store.create(
            domain,
            snapshot=result.snapshot,
            adapter=adapter,
            base=digest,
            note=note,
            activate=not wait,
        )
        return made, True

    def _tell(self, domain: Domain, result: IndexResult, release: Release, is_new: bool) -> None:
        live = ReleaseStore(self._paths).live(domain.name)
        is_live = live is not None and live.number == release.number
        if self._as_json:
            content = {"event": "result", "domain": domain.name, "release": release.number}
            self._write({**content, "new": is_new, "live": is_live, **dataclasses.asdict(result)})
            return
        for rejected in result.rejected:
            self._say(f"{domain.name}: left out {rejected.path}: {rejected.reason}")
        self._say(f"{domain.name}: {summary(result)}")
        waits = f"waits for `dslm release activate {domain.name} {release.number}`"
        state = "is live" if is_new else "stays live, nothing has changed"
        self._say(f"{domain.name}: release {release.number} {state if is_live else waits}")

    @contextmanager
    def _reporting(self, name: str) -> Iterator[Report]:
        if self._as_json:
            yield lambda p: self._write({"event": "progress", **dataclasses.asdict(p)})
        elif self._output.isatty():
            with progress_bar(name) as report:
                yield report
        else:
            yield PhaseLines(name, self._say)

    def _say(self, line: str) -> None:
        """For people; in JSON mode such lines go where they cannot be taken for an event."""
        print(line, file=sys.stderr if self._as_json else self._output, flush=True)

    def _write(self, event: dict[str, Any]) -> None:
        self._output.write(orjson.dumps(event).decode() + "\n")
        self._output.flush()


def summary(result: IndexResult) -> str:
    """What a person wants to know of a run."""
    files = dataclasses.asdict(result.files)
    parts = [
        f"{result.documents} documents, {result.chunks} passages, "
        f"{result.demonstrations} demonstrations",
        ", ".join(f"{count} {kind}" for kind, count in files.items() if count) + " files",
        f"{result.embedded} embedded, {result.reused} kept",
    ]
    if result.duplicates:
        parts.append(f"{result.duplicates} duplicates left out")
    if result.masked:
        parts.append("masked " + ", ".join(f"{n} {kind}" for kind, n in result.masked.items()))
    return "; ".join([*parts, f"{result.bytes / 1e6:.1f} MB", f"{result.seconds:.1f} s"])


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT has come since; the second one ends the process as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class PhaseLines:
    """One line a phase, when it begins: for logs and pipes."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._phase = ""

    def __call__(self, progress: Progress) -> None:
        if progress.phase != self._phase:
            self._phase = progress.phase
            self._say(f"{self._name}: {progress.phase} {progress.total or ''}".rstrip())


@contextmanager
def progress_bar(name: str) -> Iterator[Report]:
    """A bar on the terminal, one row a phase."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    rows: dict[str, TaskID] = {}
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Bars(*columns) as bars:

        def report(progress: Progress) -> None:
            if progress.phase not in rows:
                title = f"{name}: {progress.phase}"
                rows[progress.phase] = bars.add_task(title, total=None, speed="")
            left = f", {progress.left:.0f} s left" if progress.left else ""
            bars.update(
                rows[progress.phase],
                completed=progress.done,
                total=progress.total or None,
                speed=f"{progress.rate:.0f}/s{left}" if progress.rate else "",
            )

        yield report


def is_same(release: Release, domain: Domain, snapshot: str) -> bool:
    """Whether a new release of `snapshot` would decide every answer as this one does."""
    wanted = {"snapshot": snapshot, "retrieval": domain.retrieval, **domain.answer.model_dump()}
    return all(getattr(release, name) == value for name, value in wanted.items())
