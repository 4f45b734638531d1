"""A job on a Ray cluster publishes the bytes that a job without one publishes."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from indexer.domain import Domain
from tests.indexer.conftest import ROOT


def _index(domain: Domain, store: Path, runner: str) -> dict[str, bytes]:
    environment = {
        **os.environ,
        "DSLM_STORE": str(store),
        "DSLM_DOMAINS": str(domain.folder.parent),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "dslm", "index", domain.name, "--json", "--runner", runner]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    snapshots = store / "domains" / domain.name / "snapshots"
    files = [f for f in snapshots.rglob("*") if f.is_file() and not f.name.startswith(".")]
    return {str(file.relative_to(snapshots)): file.read_bytes() for file in files}


def _ray_processes() -> set[int]:
    found = psutil.process_iter(["name"])
    return {p.pid for p in found if p.info["name"] in ("raylet", "gcs_server")}


@pytest.mark.slow
def test_ray_and_the_local_runner_publish_the_same_bytes(domain: Domain, tmp_path: Path) -> None:
    before = _ray_processes()
    here = _index(domain, tmp_path / "here", "local")
    assert any(name.endswith("manifest.json") for name in here)
    assert _index(domain, tmp_path / "there", "ray") == here
    assert _ray_processes() <= before
