"""The size budget of functions and modules: what is over it is named, with its size.

Small pieces are what keeps the code readable; the numbers are those of the four projects whose
code reads best of ten that were measured.
"""

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("dslm.py", "indexer", "adapters", "service", "eval", "deploy")
MEDIAN, P90, LONGEST, MODULE = 8, 30, 60, 260


@dataclass(frozen=True, slots=True)
class Function:
    """Where a function stands and how many lines it takes, signature and docstring included."""

    place: str
    lines: int


def main() -> int:
    """Exit code 0 within the budget, else 1 with one line for each thing over it."""
    modules = list(sources(ROOT))
    over = complaints(modules)
    for line in over:
        print(f"error: {line}", file=sys.stderr)
    if not over:
        print(f"budget: {len(modules)} modules, all functions within {LONGEST} lines")
    return 1 if over else 0


def sources(root: Path) -> Iterator[Path]:
    for room in ROOMS:
        path = root / room
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def complaints(modules: list[Path]) -> list[str]:
    """One line for each thing over the budget, in words that say where and by how much."""
    functions = [function for module in modules for function in functions_of(module)]
    found = [
        f"{module}: {count} lines, the budget is {MODULE}"
        for module in modules
        if (count := len(module.read_text(encoding="utf-8").splitlines())) > MODULE
    ]
    found += [
        f"{function.place}: {function.lines} lines, the budget is {LONGEST}"
        for function in functions
        if function.lines > LONGEST
    ]
    return found + spread([function.lines for function in functions])


def spread(sizes: list[int]) -> list[str]:
    if len(sizes) < 2:
        return []
    median, p90 = statistics.median(sizes), statistics.quantiles(sizes, n=10)[-1]
    found = [f"the median function has {median} lines, the budget is {MEDIAN}"]
    found = found if median > MEDIAN else []
    if p90 > P90:
        found.append(f"a tenth of the functions has over {p90:.0f} lines, the budget is {P90}")
    return found


def functions_of(module: Path) -> Iterator[Function]:
    tree = ast.parse(module.read_text(encoding="utf-8"), filename=str(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(f"{module}:{node.lineno} {node.name}", lines)


if __name__ == "__main__":
    sys.exit(main())
