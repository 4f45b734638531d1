"""Take out of `.venv` what only tests use, so that an image holds what serving needs and no more.

.venv/bin/python -m deploy.setup.serving cpu           # or gpu
.venv/bin/python -m deploy.setup.serving cpu ray onnx  # with extras of pyproject.toml
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OURS = "dslm"


def main() -> int:
    """Exit code 0, or pip's where it cannot remove something."""
    if not sys.argv[1:]:
        print("error: which extras of pyproject.toml are to stay? Name cpu or gpu", file=sys.stderr)
        return 2
    try:
        wanted = top_level(sys.argv[1:])
    except KeyError as error:
        print(f"error: pyproject.toml has no extra {error}", file=sys.stderr)
        return 2
    superfluous = sorted(removable(installed_here(), needed(wanted)))
    shutil.rmtree(Path(sys.prefix) / "train", ignore_errors=True)  # the target `train` has its own
    if superfluous:
        command = [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", *superfluous]
        subprocess.run(command, check=True)
    print(f"{len(superfluous)} packages removed that serving does not need")
    return 0


def top_level(extras: Collection[str]) -> list[Requirement]:
    """What pyproject.toml asks for; KeyError for an extra that it does not have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    more = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *more)]


def needed(wanted: list[Requirement]) -> set[str]:
    """Canonical names of everything that is asked for here, by whatever asks for it."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(wanted)
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key not in seen:
            seen.add(key)
            waiting.extend(asked_by(*key))
    return {name for name, _ in seen}


def asked_by(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """Nothing where it is not installed: CUDA's builds, for one, are left out on a CPU host."""
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for one in map(Requirement, lines):
        marker = one.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in extras | {""}):
            yield one


def installed_here() -> list[Distribution]:
    """In this environment itself, not in what it may stand on (vLLM's image)."""
    here = Path(sys.prefix).resolve()
    return [one for one in distributions() if here in Path(str(one.locate_file(""))).parents]


def removable(installed: Collection[Distribution], keep: Collection[str]) -> set[str]:
    """Names as pip knows them."""
    names = {str(canonicalize_name(one.name)) for one in installed}
    return names - set(keep) - {OURS}


if __name__ == "__main__":
    sys.exit(main())
