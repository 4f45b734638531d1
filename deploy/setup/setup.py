"""Put everything that the product needs into `.venv`; a second run finds it done.

Runs on the system's own Python with nothing but the standard library. It installs and removes
packages in `.venv`, writes nothing else, and imports nothing of the product.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is the script that older Pythons do run
    sys.exit(
        f"error: Python 3.11 or newer is needed and {sys.executable} is {sys.version.split()[0]}. "
        "Install it (Debian, Ubuntu: apt install python3.11 python3.11-venv), or name one: "
        "make PYTHON=/path/to/python3.11 serve"
    )

import argparse
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Literal, TypeAlias

Profile: TypeAlias = Literal["cpu", "gpu"]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FREE_GIB = {"cpu": 6, "gpu": 16}
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


def main() -> int:
    """Exit code 0 when `.venv` is ready, 1 with one line to stderr when it cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    arguments = parser.parse_args()
    try:
        set_up(arguments.venv, choose_profile(arguments.profile, arguments.venv))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def set_up(venv: Path, profile: Profile) -> None:
    """Do what is missing. The stamp is written last: its presence means that all of it is done."""
    wanted = fingerprint(profile, venv)
    if is_done(venv, wanted):
        return
    progress = Progress()
    progress.say(f"setting up {venv.name} for {profile} with Python {sys.version.split()[0]}")
    check_disk(venv, profile)
    create_venv(venv, progress)
    forget_half_installed(venv)
    install(venv, profile, progress)
    stamp(venv).write_text(wanted, encoding="utf-8")
    progress.say("set-up done")


def choose_profile(asked: str, venv: Path) -> Profile:
    """`auto` keeps the profile once chosen, so that a forced one is not undone by `make serve`."""
    if asked in ("cpu", "gpu"):
        return asked  # type: ignore[return-value]  # mypy does not narrow str to a Literal
    done = stamp(venv)
    gpu = done.read_text("utf-8").startswith("gpu") if done.is_file() else has_nvidia_gpu()
    return "gpu" if gpu else "cpu"


def has_nvidia_gpu() -> bool:
    """Whether the driver shows a device: a driver without one counts as none."""
    devices = Path("/proc/driver/nvidia/gpus")
    if devices.is_dir() and any(devices.iterdir()):
        return True
    if not shutil.which("nvidia-smi"):
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def stamp(venv: Path) -> Path:
    return venv / "set-up"


def lock_file(profile: Profile) -> Path:
    return HERE / f"requirements-{profile}.txt"


def fingerprint(profile: Profile, venv: Path) -> str:
    """Of everything that decides what is installed; the folder too, since scripts hold its path."""
    digest = hashlib.sha256(str(venv.resolve()).encode())
    for file in (lock_file(profile), ROOT / "pyproject.toml"):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{profile} {digest.hexdigest()}\n"


def is_done(venv: Path, wanted: str) -> bool:
    done = stamp(venv)
    return interpreter(venv).exists() and done.is_file() and done.read_text("utf-8") == wanted


def interpreter(venv: Path) -> Path:
    return venv / "bin" / "python"


def check_disk(venv: Path, profile: Profile) -> None:
    """Only before the first installation: what is installed already takes no room again."""
    if stamp(venv).exists():
        return
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < FREE_GIB[profile]:
        raise SetupError(
            f"{free:.1f} GiB are free where {ROOT} lies and the {profile} profile needs "
            f"{FREE_GIB[profile]}. Free some space, or clone to another disk"
        )


def create_venv(venv: Path, progress: Progress) -> None:
    """Create it, or create it anew where it was moved here or lost its interpreter."""
    if is_sound(venv):
        return
    progress.say("creating the virtual environment")
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        reason = " ".join((made.stdout + made.stderr).split())[-200:]
        raise SetupError(
            f"{sys.executable} cannot create a virtual environment: {reason}. "
            f"Install the venv module (Debian, Ubuntu: apt install python{version}-venv)"
        )


def is_sound(venv: Path) -> bool:
    """Whether it runs, holds pip and was made in this folder."""
    pip = venv / "bin" / "pip"
    if not interpreter(venv).exists() or not pip.is_file():
        return False
    return str(venv.resolve()) in pip.read_text(encoding="utf-8", errors="replace")


def forget_half_installed(venv: Path) -> None:
    """A killed pip leaves a package without its RECORD and would take it for installed."""
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (folder / "RECORD").exists():
            shutil.rmtree(folder)


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


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # packages from elsewhere would look installed
    sys.exit(main())
