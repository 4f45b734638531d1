"""Running pip in `.venv`: what is installed, in which order, and what its failures mean.

Nothing but the standard library, like all of the set-up.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Literal, TypeAlias

Profile: TypeAlias = Literal["cpu", "gpu"]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Their builds on the package index need CUDA, and `transformers` fails when it finds them without.
CUDA_BUILT = ("torchvision", "torchaudio", "torchcodec")
# No compiling: half a minute for modules of which few are ever imported.
QUICK = ("--no-deps", "--no-compile", "--progress-bar=off", "--no-input")
HEARTBEAT_S = 15.0


class SetupError(Exception):
    """What stands in the way, and what to do about it."""


class Progress:
    """Lines with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:4.0f} s] {line}", flush=True)


def lock_file(profile: Profile) -> Path:
    return HERE / f"requirements-{profile}.txt"


def interpreter(venv: Path) -> Path:
    return venv / "bin" / "python"


def install(venv: Path, profile: Profile, progress: Progress) -> None:
    if profile == "cpu":
        install_torch_cpu(venv, progress)
        # The file holds the whole closure, so pip need not spend a minute on resolving it.
        pip(venv, progress, "install", *QUICK, "-r", str(lock_file(profile)))
        pip(venv, progress, "uninstall", "--yes", *CUDA_BUILT)
    else:
        pip(venv, progress, "install", *QUICK[1:], "-r", str(lock_file(profile)))
    editable = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    pip(venv, progress, "install", *editable)
    check_closure(venv)


def install_torch_cpu(venv: Path, progress: Progress) -> None:
    """From wherever pip is told to look; PyTorch's own index is asked only if that has it not."""
    pins = lock_file("cpu").read_text(encoding="utf-8").splitlines()
    step = ("install", *QUICK, next(line for line in pins if line.startswith("torch==")))
    try:
        pip(venv, progress, *step)
    except SetupError:
        progress.say(f"not where pip looks; asking {TORCH_CPU_INDEX}")
        pip(venv, progress, *step, "--index-url", TORCH_CPU_INDEX)


def check_closure(venv: Path) -> None:
    """Every package has what it requires, but for the ones left out on purpose."""
    command = [str(interpreter(venv)), "-m", "pip", "check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [
        line
        for line in found.stdout.splitlines()
        if found.returncode and not any(f"requires {name}," in line for name in CUDA_BUILT)
    ]
    if complaints:
        raise SetupError(
            f"the installed packages do not fit together: {'; '.join(complaints[:3])}. "
            "Delete .venv and try again with Python 3.11, for which the versions are pinned"
        )


def pip(venv: Path, progress: Progress, *arguments: str) -> None:
    """Run pip, its words into a log, a line now and then for the person who waits."""
    told = [part for part in arguments if not part.startswith("--")]
    progress.say(f"pip {' '.join(told).replace(str(ROOT), '.')}")
    log = venv / "set-up.log"
    command = [str(interpreter(venv)), "-m", "pip", "--disable-pip-version-check", *arguments]
    with open(log, "w", encoding="utf-8") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            code = wait(child, log, progress)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if code:
        raise SetupError(failure(arguments[0], log))


def wait(child: subprocess.Popen[bytes], log: Path, progress: Progress) -> int:
    while True:
        try:
            return child.wait(HEARTBEAT_S)
        except subprocess.TimeoutExpired:
            progress.say(f"  {tail(log, 1)[:90]}")


def failure(step: str, log: Path) -> str:
    words = log.read_text(encoding="utf-8", errors="replace")
    if "No space left" in words:
        remedy = "Free some disk space and run the same command again"
    elif "No matching distribution" in words:
        remedy = "Check that pip finds its index (pip config list) and that it holds this version"
    elif "onnection" in words or "Temporary failure" in words:
        remedy = "Check the network, or pip's proxy and index settings, and run it again"
    else:
        remedy = f"See {log} and run the same command again"
    return f"pip {step} failed: {tail(log, 4)}. {remedy}"


def tail(log: Path, count: int) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines()]
    return " | ".join([line for line in lines if line and "WARNING" not in line][-count:])
