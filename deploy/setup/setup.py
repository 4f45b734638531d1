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
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.setup.packages import (
    ROOT,
    Profile,
    Progress,
    SetupError,
    install,
    interpreter,
    lock_file,
)
from deploy.setup.training import LOCK as TRAINING_LOCK
from deploy.setup.training import try_training

FREE_GIB = {"cpu": 6, "gpu": 16}


def main() -> int:
    """Exit code 0 when `.venv` is ready, 1 with one line to stderr when it cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    arguments = parser.parse_args()
    try:
        with alone(arguments.venv):
            set_up(arguments.venv, choose_profile(arguments.profile, arguments.venv))
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def alone(venv: Path) -> Iterator[None]:
    """`make serve` and `make test` may start at once: the second waits and then finds it done."""
    with open(venv.with_name(f"{venv.name}.lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another set-up is at work here; waiting for its end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(venv: Path, profile: Profile) -> None:
    """Do what is missing. The stamp is written last: its presence means that all of it is done."""
    wanted = fingerprint(profile, venv)
    if is_done(venv, wanted):
        return
    progress = Progress()
    progress.say(f"setting up {venv.name} for {profile} with Python {sys.version.split()[0]}")
    check_disk(venv, profile)
    if not is_sound(venv, profile):
        create_venv(venv, progress)
    forget_half_installed(venv)
    install(venv, profile, progress)
    try_training(venv, progress)
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


def fingerprint(profile: Profile, venv: Path) -> str:
    """Of everything that decides what is installed; the folder too, since scripts hold its path."""
    digest = hashlib.sha256(str(venv.resolve()).encode())
    for file in (lock_file(profile), TRAINING_LOCK, ROOT / "pyproject.toml"):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{profile} {digest.hexdigest()}\n"


def is_done(venv: Path, wanted: str) -> bool:
    done = stamp(venv)
    return interpreter(venv).exists() and done.is_file() and done.read_text("utf-8") == wanted


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
    """Create it, anew if there is one."""
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


def is_sound(venv: Path, profile: Profile) -> bool:
    """Whether it runs, was made in this folder, and holds nothing of the other profile."""
    pip, done = venv / "bin" / "pip", stamp(venv)
    if not interpreter(venv).exists() or not pip.is_file():
        return False
    if done.is_file() and not done.read_text("utf-8").startswith(profile):
        return False
    return str(venv.resolve()) in pip.read_text(encoding="utf-8", errors="replace")


def forget_half_installed(venv: Path) -> None:
    """A killed pip leaves a package without its RECORD and would take it for installed."""
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (folder / "RECORD").exists():
            shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # packages from elsewhere would look installed
    sys.exit(main())
