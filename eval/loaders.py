"""What the loaders make of real files: their text beside the expected one, or a named reason."""

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from rich.console import Console

from eval.likeness import in_common, words
from eval.report import Grid, show
from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.reading.layout import named_after
from indexer.reading.reader import ReaderPool, Reading
from indexer.reading.walk import SourceFile, scan
from indexer.records import Document, Rejected

# Reasons that say a file took more than it may; what is broken or locked is no fault of ours.
_OVER = re.compile(r"takes longer than|needs more than|ended the process")
_NOTE = (
    "found: share of the expected words, in order; similar: twice the words in common over the"
    " words of both; the names of columns, which every row repeats, are counted once"
)
_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".ods")

Extractor = Callable[[Path], str]

Data = Annotated[Path, typer.Option(help="folder that holds loader_files")]
Output = Annotated[Path | None, typer.Option("--json", help="write every outcome to this file")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file: what it gave, what that took, and how like the expected text it is.

    `similar` and `found` (the share of the expected words, in order) are None where no text is
    expected; `others` holds the same similarity of the libraries compared, by name.
    """

    path: str
    kind: str
    characters: int
    pages: int
    reason: str
    seconds: float
    memory: int
    similar: float | None = None
    found: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return bool(_OVER.search(self.reason))


def loaders(data: Data, output: Output = None) -> None:
    """Read every file of loader_files and compare the texts with the expected ones.

    Ends with exit code 1 if a file went over its limits.

    Example: python -m eval loaders --data ../shared/data
    """
    outcomes = measure(data)
    console = Console()
    console = console if console.is_terminal else Console(width=230)
    for grid in (file_grid(outcomes), kind_grid(outcomes)):
        show(console, grid)
    if output is not None:
        rows = [asdict(outcome) for outcome in outcomes]
        output.write_text(json.dumps({"loaders": rows}, indent=1), encoding="utf-8")
    if any(outcome.over for outcome in outcomes):
        raise typer.Exit(1)


def measure(folder: Path) -> list[Outcome]:
    """Read every file of `loader_files` that its manifest lists. BadInput: it is not there."""
    files = (folder / "loader_files").resolve()
    listed = _manifest(files / "manifest.jsonl")
    domain = Domain.from_toml({"name": "loaders", "documents": {"paths": [str(files)]}}, files)
    compared = dict(_extractors())
    outcomes: list[Outcome] = []
    sources: list[SourceFile] = []
    for one in scan(domain):
        if one.path in listed and isinstance(one, Rejected):
            outcomes.append(_left_out(one))
        elif one.path in listed and isinstance(one, SourceFile):
            sources.append(one)
    with ReaderPool(domain) as pool:
        for reading in pool.read(sources):
            expected = listed[reading.source.path]
            text = _text(files / expected) if expected else None
            outcomes.append(_outcome(reading, text, compared))
    return sorted(outcomes, key=lambda outcome: outcome.path)


def _manifest(file: Path) -> dict[str, str]:
    """The files there are, each with its expected text's file or ""."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise BadInput(f"Cannot read {file}: {error.strerror}", "Check --data") from error
    return {r["file"]: r.get("expected", "") for r in rows if (file.parent / r["file"]).exists()}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _left_out(rejected: Rejected) -> Outcome:
    return Outcome(rejected.path, _kind(rejected.path), 0, 0, rejected.reason, 0.0, 0)


def _kind(path: str) -> str:
    return PurePosixPath(path).suffix.lower() or "(none)"


def _outcome(reading: Reading, expected: str | None, compared: Mapping[str, Extractor]) -> Outcome:
    path = reading.source.path
    text = "\n".join(_said(document) for document in reading.documents)
    reason = "; ".join(f"{one.path}: {one.reason}" for one in reading.rejected)
    plain = Outcome(
        path,
        _kind(path),
        len(text),
        sum(len(document.pages) for document in reading.documents),
        reason,
        reading.seconds,
        reading.memory,
    )
    if expected is None:
        return plain
    wanted, ours = words(expected), words(text)
    common = in_common(wanted, ours)
    return Outcome(
        **{name: getattr(plain, name) for name in _PLAIN},
        similar=_ratio(2 * common, len(wanted) + len(ours)),
        found=_ratio(common, len(wanted)),
        others={
            name: _compared(one, reading.source.file, wanted) for name, one in compared.items()
        },
    )


_PLAIN = ("path", "kind", "characters", "pages", "reason", "seconds", "memory")


def _said(document: Document) -> str:
    """The text, without the file's name that stands before one that has no title."""
    named = document.title == named_after(document.path)
    text = document.text.removeprefix(document.title) if named else document.text
    if _kind(document.path) not in _TABLES:
        return text
    return "\n".join(_once(text.split("\n")))


def _once(lines: Iterable[str]) -> Iterator[str]:
    """Rows as a table shows them: the names of the columns above, not in every row."""
    known: list[str] = []
    for line in lines:
        pairs = [(name, value or name) for name, _, value in map(_parted, line.split(" | "))]
        fresh = [name for name, value in pairs if name != value and name not in known]
        known += fresh
        yield " ".join([*fresh, *(value for _, value in pairs)])


def _parted(cell: str) -> tuple[str, str, str]:
    return cell.partition(": ")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _compared(extract: Extractor, file: Path, wanted: list[str]) -> float:
    """0 where the library fails."""
    try:
        theirs = words(extract(file))
    except Exception:  # whatever another library raises is its own
        return 0.0
    return _ratio(2 * in_common(wanted, theirs), len(wanted) + len(theirs))


def _extractors() -> Iterable[tuple[str, Extractor]]:
    """The libraries compared, as far as they are installed."""
    import kreuzberg  # only a measurement pays for it

    config = kreuzberg.ExtractionConfig(use_cache=False, output_format="markdown")
    yield "kreuzberg", lambda file: kreuzberg.extract_file_sync(file, config=config).content
    if importlib.util.find_spec("markitdown") is None:
        return
    converter: Any = importlib.import_module("markitdown").MarkItDown(enable_plugins=False)
    yield "markitdown", lambda file: str(converter.convert_local(str(file)).text_content)


def file_grid(outcomes: list[Outcome]) -> Grid:
    """Every file on a line."""
    head = ("file", "characters", "pages", "ms", "MiB", "similar", "reason")
    return Grid("Files", head, tuple(_file_row(outcome) for outcome in outcomes))


def _file_row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.path,
        str(outcome.characters),
        str(outcome.pages or "-"),
        f"{outcome.seconds * 1000:.0f}",
        str(outcome.memory or "-"),
        _shown(outcome.similar),
        outcome.reason[:90],
    )


def kind_grid(outcomes: list[Outcome]) -> Grid:
    """Every format on a line, beside the libraries compared."""
    names = sorted({name for outcome in outcomes for name in outcome.others})
    head = ("format", "files", "with text", "named reason", "over limits", "s", "most MiB")
    kinds = sorted({outcome.kind for outcome in outcomes})
    rows = [_kind_row(kind, [o for o in outcomes if o.kind == kind], names) for kind in kinds]
    rows.append(_kind_row("all", outcomes, names))
    title = f"Formats ({_NOTE})"
    return Grid(title, (*head, "expected", "found", "similar", *names), tuple(rows))


def _kind_row(kind: str, outcomes: list[Outcome], names: list[str]) -> tuple[str, ...]:
    judged = [outcome for outcome in outcomes if outcome.similar is not None]
    return (
        kind,
        str(len(outcomes)),
        str(sum(outcome.characters > 0 for outcome in outcomes)),
        str(sum(not outcome.characters and bool(outcome.reason) for outcome in outcomes)),
        str(sum(outcome.over for outcome in outcomes)),
        f"{sum(outcome.seconds for outcome in outcomes):.2f}",
        str(max(outcome.memory for outcome in outcomes)),
        str(len(judged)),
        _shown(_mean(outcome.found for outcome in judged)),
        _shown(_mean(outcome.similar for outcome in judged)),
        *(_shown(_mean(outcome.others.get(name) for outcome in judged)) for name in names),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
