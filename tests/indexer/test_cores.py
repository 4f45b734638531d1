"""As many cores as this process may really use, in a container too."""

import os
from pathlib import Path

import pytest

from indexer import cores as module
from indexer.cores import cores


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a container's limit, on a machine of 64 cores."""
    monkeypatch.setattr(module, "_QUOTAS", ((str(tmp_path / "cpu.max"),),))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ("max 100000\n", 64),
        ("400000 100000\n", 4),
        ("150000 100000\n", 2),  # a part of a core is worth a thread
        ("1000 100000\n", 1),
        ("9900000 100000\n", 64),
        ("-1 100000\n", 64),
        ("400000 0\n", 64),
        ("", 64),
        ("four\n", 64),
    ],
)
def test_a_containers_quota_counts(quota: Path, said: str, count: int) -> None:
    quota.write_text(said, encoding="ascii")
    assert cores() == count


def test_without_a_quota_it_is_the_affinity(quota: Path) -> None:
    assert not quota.exists()
    assert cores() == 64


def test_a_quota_in_two_files_counts(
    quota: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us"
    monkeypatch.setattr(module, "_QUOTAS", (tuple(map(str, files)),))
    for file, said in zip(files, ("300000\n", "100000\n"), strict=True):
        file.write_text(said, encoding="ascii")
    assert cores() == 3
    files[0].write_text("-1\n", encoding="ascii")
    assert cores() == 64
