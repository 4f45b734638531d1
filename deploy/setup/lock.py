"""Write requirements-cpu.txt: everything that pyproject.toml's `cpu` and `test` need, pinned.

The versions are those of the environment that this runs in, so change them there first. The
closure is taken over every supported Python, so that one file serves them all.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
PYTHONS = ("3.11", "3.12", "3.13")
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
# These exist for one processor only; elsewhere pip must not look for them.
X86_ONLY = {"intel-openmp", "intel-cmplr-lib-ur", "intel-cmplr-lib-rt"}
HEAD = "# Written by `make lock`: the whole closure of the cpu profile, tests included.\n"


def main() -> int:
    """Exit code 0, or 1 when a package of the closure is not installed here."""
    try:
        pins = sorted(pin(name) for name in closure(top_level()))
    except PackageNotFoundError as error:
        print(f"error: {error.name} is required and not installed here", file=sys.stderr)
        return 1
    content = HEAD + "".join(f"{line}\n" for line in pins)
    (HERE / "requirements-cpu.txt").write_text(content, encoding="utf-8")
    print(f"{len(pins)} packages pinned")
    return 0


def top_level() -> list[Requirement]:
    file = HERE.parents[1] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [Requirement(line) for line in project["dependencies"] + extras["cpu"] + extras["test"]]


def closure(wanted: list[Requirement]) -> set[str]:
    """Canonical names of everything that `wanted` needs, itself included."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name not in LEFT_OUT and (name, extras) not in seen:
            seen.add((name, extras))
            found.add(name)
            wanted.extend(requirements(name, extras))
    return found


def requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        if applies(requirement, extras):
            yield requirement


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether it holds for any supported Python with any of the extras that were asked for."""
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate(
            {"python_version": python, "python_full_version": f"{python}.9", "extra": e}
        )
        for python in PYTHONS
        for e in extras | {""}
    )


def pin(name: str) -> str:
    found = distribution(name)
    condition = ' ; platform_machine == "x86_64"' if name in X86_ONLY else ""
    return f"{canonicalize_name(found.name)}=={found.version}{condition}"


if __name__ == "__main__":
    sys.exit(main())
