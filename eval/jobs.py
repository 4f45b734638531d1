"""`python -m eval jobs`: a folder through the API, its job followed, cancelled and gone on with.

Says what was seen; whatever did not hold makes it fail. Without a service it starts one, without
an engine, over a domain that only quotes: what is tried needs no more.
"""

import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from eval.client import ServiceRefused
from eval.progress import say
from eval.remote import Remote, files_below
from eval.running import DidNotStart, running_service
from indexer.errors import BadInput, DslmError

DOMAIN = "drill"
TOML = 'name = "drill"\n[answer]\nmode = "quote"\n[chunking]\ntokens = 240\n'
POISON = {
    "poison-nul.txt": b"\0\1\2 text \0" * 200,
    "poison-torn.pdf": b"%PDF-1.7\n1 0 obj\n<< /Ty",
}
START_SECONDS = 120.0
CANCEL_SECONDS = 10.0
DELETE_SECONDS = 1.0


class DidNotHold(DslmError):
    """The service did something else than it promises."""


@dataclass(slots=True)
class Drill:
    """One run against one domain. `failed` names what did not hold."""

    service: Remote
    domain: str
    report: Callable[[str], None] = say
    failed: list[str] = field(default_factory=list)

    def run(self, documents: Path, poison: Path) -> None:
        """The whole of it."""
        sent = self._upload(documents, poison)
        self._cancel()
        done = self._finish()
        self._states(sent, done)
        self._delete(next(name for name in sent if name not in POISON))

    def hold(self, claim: str, holds: bool) -> None:
        """Note a claim and whether it held."""
        self.report(f"{'ok  ' if holds else 'FAIL'} {claim}")
        if not holds:
            self.failed.append(claim)

    def _upload(self, documents: Path, poison: Path) -> list[str]:
        files = [*files_below([documents]), *files_below([poison])]
        began, size = time.monotonic(), 0
        for file, name in files:
            size += self.service.add(self.domain, file, name)["bytes"]
        took = time.monotonic() - began
        self.report(f"uploaded {len(files)} files, {size / 1e6:.1f} MB, in {took:.1f} s")
        return [name for _, name in files]

    def _cancel(self) -> None:
        """Once some of it is embedded; the time is from the call to the job's end."""
        job_id = self.service.start(self.domain)["id"]
        asked, done, events = 0.0, 0, 0
        for _, job in self.service.events(job_id):
            events += 1
            now = job["progress"] or {}
            if not asked and now.get("phase") == "embed" and now["done"]:
                asked, done = time.monotonic(), now["done"]
                self.service.cancel(job_id)
        took = time.monotonic() - asked
        self.report(f"first job: {events} events, {', '.join(job['phases'])}")
        self.hold("it was cancelled while embedding", bool(asked) and job["status"] == "cancelled")
        if asked:
            claim = f"cancelling took {took:.2f} s, at {done} of {now['total']} embedded"
            self.hold(claim, took < CANCEL_SECONDS)

    def _finish(self) -> dict[str, Any]:
        began = time.monotonic()
        seen = self.service.events(self.service.start(self.domain)["id"])
        events, (_, job) = deque(enumerate(seen, start=1), maxlen=1)[0]
        took, result = time.monotonic() - began, job["result"] or {}
        self.report(f"second job: {events} events, {took:.1f} s, {job['error'] or ''}")
        for name, phase in job["phases"].items():
            self.report(f"  {name}: {phase['done']}/{phase['total']} in {phase['seconds']:.1f} s")
        told = ("documents", "chunks", "embedded", "reused", "duplicates")
        self.report("  " + ", ".join(f"{key} {result.get(key)}" for key in told))
        self.hold("it finished", job["status"] == "succeeded")
        self.hold("its progress was seen", events > len(job["phases"]))
        self.hold("it went on where the first had been", bool(result.get("reused")))
        return job

    def _states(self, sent: list[str], job: dict[str, Any]) -> None:
        cards = {card["path"]: card for card in self.service.documents(self.domain)}
        mine = {name: cards.get(f"uploads/{name}", {}).get("state") for name in sent}
        bad = sorted(name for name, state in mine.items() if state == "quarantined")
        told = {one["path"] for one in job["quarantined"]}
        self.report(f"{len(mine)} files: {len(bad)} quarantined")
        for name in bad:
            self.report(f"  {name}: {'; '.join(cards[f'uploads/{name}']['reasons'])}")
        self.hold("the poison files are quarantined", set(POISON) <= set(bad))
        self.hold("the job told of each", {f"uploads/{name}" for name in bad} <= told)
        others = [name for name, state in mine.items() if state not in {"indexed", "quarantined"}]
        self.hold(f"every other file is indexed {others[:3] or ''}".rstrip(), not others)

    def _delete(self, name: str) -> None:
        path = f"uploads/{name}"
        self.service.remove(self.domain, path)
        began = time.monotonic()
        gone = not self._reads(path)
        took = time.monotonic() - began
        self.hold(f"a deleted document was gone {took:.2f} s later", gone and took < DELETE_SECONDS)
        listed = [card["path"] for card in self.service.documents(self.domain, "deleted")]
        self.hold("and is listed as deleted", path in listed)

    def _reads(self, path: str) -> bool:
        try:
            return bool(self.service.text(self.domain, path))
        except ServiceRefused as error:
            if error.status != 404:
                raise
            return False


def jobs(
    documents: Annotated[Path, typer.Option(help="folder of files, or of a .tar.gz")],
    url: Annotated[str | None, typer.Option(help="a running service; none: one is started")] = None,
    domain: Annotated[str, typer.Option(help="its domain; the files stay there")] = DOMAIN,
) -> None:
    """Upload a folder, follow its job, cancel it, go on with it, and check every document.

    Example: python -m eval jobs --documents folder
    """
    if not documents.is_dir():
        raise BadInput(f"{documents} is no folder", "Name one with --documents")
    with (
        tempfile.TemporaryDirectory(prefix="dslm-drill-") as place,
        service(url, Path(place)) as at,
    ):
        poison = Path(place, "poison")
        poison.mkdir()
        for name, content in POISON.items():
            (poison / name).write_bytes(content)
        with Remote(at) as remote:
            drill = Drill(remote, domain)
            drill.run(unpacked(documents, Path(place, "unpacked")), poison)
    if drill.failed:
        raise DidNotHold(f"{len(drill.failed)} things did not hold", "See above")


def unpacked(documents: Path, place: Path) -> Path:
    """The folder, or what its archive holds if it has one."""
    archives = sorted(documents.glob("*.tar.gz"))
    for archive in archives:
        with tarfile.open(archive) as content:
            content.extractall(place, filter="data")
    return place if archives else documents


@contextmanager
def service(url: str | None, place: Path) -> Iterator[str]:
    """The service at `url`, or one without an engine for this block."""
    if url:
        yield url
        return
    folder = place / "domains" / DOMAIN
    (folder / "documents").mkdir(parents=True)
    (folder / "documents" / "drill.md").write_text("# Drill\n\nThis is a drill.\n", "utf-8")
    (folder / "domain.toml").write_text(TOML, "utf-8")
    settings = {"DSLM_DOMAINS": str(folder.parent), "DSLM_ENGINE_URLS": "http://127.0.0.1:9"}
    with running_service(place, settings) as own:
        end = time.monotonic() + START_SECONDS
        while not _answers(own.url):
            if own.process.poll() is not None or time.monotonic() > end:
                raise DidNotStart(
                    f"The service did not start\n{own.log.read_text('utf-8')}", "See above"
                )
            time.sleep(0.2)
        yield own.url


def _answers(url: str) -> bool:
    """Whether it is there and no job of its start is under way."""
    try:
        with Remote(url) as remote:
            running = [job for job in remote.jobs() if job["ended_at"] is None]
            return not running and bool(list(remote.jobs()))
    except DslmError:
        return False
