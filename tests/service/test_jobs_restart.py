"""A service that is killed or stopped in the midst of a job goes on with it: the real command."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from eval.remote import Remote
from indexer.errors import DslmError
from indexer.settings import Paths
from indexer.store.catalog import Catalog
from tests.live import ROOT, free_port

pytestmark = pytest.mark.slow
SECONDS = 120.0
DOCUMENTS = 200  # so many that the job is seen, and killed, well before it ends


class Restarted:
    """`dslm serve` without an engine, again and again over one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        documents = folder / "domains" / "depot" / "documents"
        documents.mkdir(parents=True)
        (documents.parent / "domain.toml").write_text('[answer]\nmode = "quote"\n', "utf-8")
        for number in range(DOCUMENTS):
            lines = [f"Crate {n} of shelf {number} holds {n} valves.\n" for n in range(30)]
            (documents / f"{number}.md").write_text("\n".join([f"# {number}\n", *lines]), "utf-8")
        self.catalog = Paths(folder / "store").catalog("depot")
        self.log = folder / "serve.log"

    @contextmanager
    def running(self) -> Iterator[tuple[subprocess.Popen[bytes], Remote]]:
        port = free_port()
        settings = {
            "DSLM_PORT": str(port),
            "DSLM_STORE": str(self.folder / "store"),
            "DSLM_DOMAINS": str(self.folder / "domains"),
            "DSLM_ENGINE_URLS": "http://127.0.0.1:9",
        }
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "dslm", "serve"],
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
            )
        try:
            with Remote(f"http://127.0.0.1:{port}") as remote:
                yield child, remote
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()


def first_job(remote: Remote) -> dict[str, Any]:
    """The job that the start itself began."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            found = list(remote.jobs())
        except DslmError:
            found = []
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError("no job was begun")


def embedding(remote: Remote, job_id: str, catalog: Path) -> None:
    """Wait until vectors are durable: the job commits about once a second, not every batch."""
    for kind, job in remote.events(job_id):
        assert kind == "progress", job
        progress = job["progress"]
        if progress and progress["phase"] == "embed" and progress["done"] and durable(catalog):
            return


def durable(catalog: Path) -> int:
    with Catalog.read_only(catalog) as opened:
        return opened.count("SELECT count(*) FROM vectors")


def children_of(process: psutil.Process) -> list[psutil.Process]:
    return [p for p in process.children(recursive=True) if p.is_running()]


def all_end(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_goes_on_under_its_id_after_the_service_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    case = Restarted(tmp_path)
    with case.running() as (child, remote):
        job = first_job(remote)
        embedding(remote, job["id"], case.catalog)
        left = children_of(psutil.Process(child.pid))
        assert left
        child.send_signal(number)
        code = child.wait(60)
        assert code == (0 if number == signal.SIGTERM else -number)
        assert all_end(left, 60), "the job outlived its service"
    with case.running() as (_, remote):
        assert first_job(remote)["id"] == job["id"]
        *_, (kind, done) = remote.events(job["id"])
        assert (kind, done["status"], done["attempts"]) == ("result", "succeeded", 2)
        assert done["result"]["reused"] > 0, "it began anew"
        assert done["result"]["documents"] == DOCUMENTS
        assert len(list(remote.jobs())) == 1
