"""Index jobs in processes of their own, which tests watch, stop and kill."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from indexer.settings import Paths
from tests.indexer.conftest import ROOT


def start(folder: Path, paths: Paths, *options: str) -> "subprocess.Popen[str]":
    """A job with the tests' embedder."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.indexer.job.run_job", str(folder), str(paths.root), *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    """Exit code, the last line as JSON, and what was said on stderr."""
    out, err = child.communicate()
    lines = out.strip().splitlines()
    return child.returncode, json.loads(lines[-1]) if lines else {}, err


def follow(child: "subprocess.Popen[str]", phase: str) -> bool:
    """Let a job in lockstep go on until it reports `phase`; False if it ends before."""
    assert child.stdout is not None
    assert child.stdin is not None
    for line in child.stdout:
        if json.loads(line).get("phase") == phase:
            return True
        if "phase" in line:
            child.stdin.write("\n")
            child.stdin.flush()
    return False


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below, by its relative path."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def write_corpus(folder: Path, count: int = 60) -> None:
    """Documents of several chunks each, some alike, some that cannot be read."""
    documents = folder / "documents"
    for number in range(count):
        lines = [f"# Device {number}", "", "Every device is checked once a year by two people."]
        lines += [
            f"Part {part} of device {number} holds {part * number} litres." for part in range(60)
        ]
        (documents / f"device{number:03}.md").write_text("\n\n".join(lines), encoding="utf-8")
    (documents / "broken.md").write_bytes(b"\0\xff\xfe\0")
