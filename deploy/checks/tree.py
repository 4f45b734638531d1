"""Write deploy/docs/tree.md anew: every file with the first sentence of its own docstring.

What is no Python module is described here. `--check` writes nothing and fails if it would.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- tree: make docs -->", "<!-- /tree -->"
ROOMS = ("indexer", "adapters", "service", "eval", "deploy")
OTHERS = {
    "Makefile": "Every command that a developer needs; `make` lists them.",
    "pyproject.toml": "Dependencies, and the settings of every check.",
    "Dockerfile": "The service as an image for CPU or GPU, and one that trains.",
    ".dockerignore": "What no image may hold: tests, stores, keys.",
    "DECISIONS.md": "What was decided and what it was compared with; append-only.",
    "CHANGELOG.md": "What changed, by version.",
    "LICENSE": "Apache 2.0.",
    ".ci/run": "What CI calls: the test command above.",
    "deploy/setup/requirements-cpu.txt": "Pins of the cpu profile, the whole closure.",
    "deploy/setup/requirements-gpu.txt": "Pins of the gpu profile, top level.",
    "deploy/setup/requirements-train.txt": "Pins of what only QLoRA uses.",
    "deploy/helm/": "The Helm chart, and sets of values to start from.",
    "deploy/compose/": "One server with Docker: on a GPU or without, and its monitoring.",
    "deploy/grafana/": "The dashboard, and how Grafana finds it.",
    "deploy/alerts/": "Alert rules for Prometheus; the runbook explains each.",
    "deploy/demo/MODEL_CARD.md": "What the demonstration model and adapters can do, and cannot.",
    "deploy/demo/model/": "The demonstration base.",
    "deploy/demo/adapters/": "Its adapters, each in two versions.",
    "deploy/demo/domains/": "The example domains, one folder each.",
    "tests/": "Mirrors the packages; `live.py` starts the whole product.",
}


def main() -> int:
    """Exit code 0; with `--check` 1 if the tree is not today's."""
    page = ROOT / "deploy" / "docs" / "tree.md"
    before = page.read_text(encoding="utf-8")
    after = with_tree(before, tree(ROOT))
    if "--check" not in sys.argv:
        page.write_text(after, encoding="utf-8")
    elif after != before:
        print(
            "error: the tree in deploy/docs/tree.md is out of date. Run `make docs`",
            file=sys.stderr,
        )
        return 1
    return 0


def with_tree(page: str, lines: list[str]) -> str:
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n```text\n" + "\n".join(lines) + f"\n```\n{END}{tail}"


def tree(root: Path) -> list[str]:
    """One line a file or folder, each room after its own description."""
    entries = {"dslm.py": first_sentence(root / "dslm.py")}
    for room in ROOMS:
        entries.update(modules(root, root / room))
    entries.update(OTHERS)
    ordered = sorted(entries, key=place)
    width = max(len(name) for name in ordered) + 2
    return [f"{name:{width}}{entries[name]}" for name in ordered]


def modules(root: Path, folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if file.name == "__init__.py":
            name = name.removesuffix("__init__.py")
        yield name, first_sentence(file)


def place(name: str) -> tuple[int, str]:
    """The front door, then the rooms in the order of their imports, then the rest."""
    room = name.partition("/")[0]
    if name == "dslm.py":
        return 0, name
    return (ROOMS.index(room) + 1, name) if room in ROOMS else (len(ROOMS) + 1, name)


def first_sentence(file: Path) -> str:
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    line = " ".join(said.split("\n\n")[0].split())
    return line.split(". ")[0].rstrip(".") + "."


if __name__ == "__main__":
    sys.exit(main())
