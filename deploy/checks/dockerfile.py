"""A Dockerfile as stages of instructions: as much of its language as ours uses, and no more."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path

VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
PAIR = re.compile(r"""(\w+)=("[^"]*"|\S+)""")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word in capitals, its options (`--from=...`) and the rest of it."""

    word: str
    options: Mapping[str, str]
    rest: str

    def listed(self) -> list[str] | None:
        """The arguments of an exec form; None where a shell would have to read them."""
        return list(json.loads(self.rest)) if self.rest.startswith("[") else None


@dataclass(slots=True)
class Stage:
    """What follows one FROM. `parent`: an image, or the name of an earlier stage."""

    name: str
    parent: str
    instructions: list[Instruction] = field(default_factory=list)

    def of(self, word: str) -> list[Instruction]:
        return [one for one in self.instructions if one.word == word]


def stages(file: Path, arguments: Mapping[str, str] | None = None) -> dict[str, Stage]:
    """Every stage by its name. `arguments`: build arguments other than the defaults."""
    known: dict[str, str] = {}
    found: dict[str, Stage] = {}
    last: Stage | None = None
    for one in instructions(file.read_text(encoding="utf-8")):
        if one.word == "FROM":
            parent, _, name = expanded(one.rest, known).partition(" AS ")
            last = found[name] = Stage(name, parent)
        elif last is not None:
            last.instructions.append(one)
        else:
            known.update({**pairs(one.rest), **(arguments or {})})
    return found


def lineage(found: Mapping[str, Stage], name: str) -> list[Stage]:
    """The stage after all that it stands on."""
    stage = found[name]
    before = lineage(found, stage.parent) if stage.parent in found else []
    return [*before, stage]


def instructions(text: str) -> Iterator[Instruction]:
    """One after the other, without comments, continued lines joined."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(kept).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        options: dict[str, str] = {}
        while word in ("COPY", "HEALTHCHECK") and rest.lstrip().startswith("--"):
            option, _, rest = rest.lstrip().partition(" ")
            name, _, value = option.removeprefix("--").partition("=")
            options[name] = value
        if word:
            yield Instruction(word.upper(), options, rest.strip())


def pairs(text: str) -> dict[str, str]:
    """`A=b C="d e"` as ENV and ARG write it."""
    return {name: value.strip('"') for name, value in PAIR.findall(text)}


def expanded(text: str, known: Mapping[str, str]) -> str:
    """With `$NAME` and `${NAME}` replaced; KeyError for a name that nothing has set."""
    return VARIABLE.sub(lambda match: known[match[1] or match[2]], text)


def context(root: Path) -> Iterator[Path]:
    """The files that a build may see: what .dockerignore leaves, relative to the checkout."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and line[0] not in "#!"]
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = sorted(one for one in folders if not ignored(here / one, patterns))
        yield from (here / one for one in sorted(names) if not ignored(here / one, patterns))


def ignored(path: Path, patterns: Collection[str]) -> bool:
    """`**/` stands for any folder; a pattern without it is read from the checkout's top."""
    return any(
        fnmatch(path.name, pattern[3:]) if pattern.startswith("**/") else matches(path, pattern)
        for pattern in patterns
    )


def matches(path: Path, pattern: str) -> bool:
    """No `*` goes beyond a folder."""
    parts, wanted = path.parts, Path(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatch, parts, wanted))
