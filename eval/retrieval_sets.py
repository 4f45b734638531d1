"""Public test sets of retrieval in BEIR's form, and pairs of sentences, read from a folder."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import BadInput


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Documents and judged questions; `judged[i]` grades documents, by row, for `questions[i]`."""

    name: str
    documents: tuple[str, ...]
    questions: tuple[str, ...]
    judged: tuple[Mapping[int, int], ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sentences and how alike people found them."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: tuple[float, ...]


def read_set(folder: Path) -> RetrievalSet:
    """Whole documents: title, a blank, text. BadInput if a file is missing or not of this form."""
    corpus = {row["_id"]: row for row in _rows(_either(folder, "corpus.jsonl"))}
    rows = {name: number for number, name in enumerate(corpus)}
    asked = {row["_id"]: row["text"] for row in _rows(_either(folder, "queries.jsonl"))}
    judged: dict[str, dict[int, int]] = {}
    for question, document, grade in _judgements(folder / "qrels" / "test.tsv"):
        if question not in asked or document not in rows:
            raise BadInput(
                f"{folder.name}/qrels/test.tsv judges {document} for {question}: one is not there",
                "Give a whole set: corpus, queries and judgements of one release",
            )
        if grade > 0:
            judged.setdefault(question, {})[rows[document]] = grade
    return RetrievalSet(
        name=folder.name,
        documents=tuple(f"{r.get('title', '')} {r['text']}".strip() for r in corpus.values()),
        questions=tuple(asked[question] for question in judged),
        judged=tuple(judged.values()),
    )


def read_pairs(file: Path) -> Pairs:
    """The sentence pairs of STS-B."""
    rows = list(_rows(file))
    return Pairs(
        tuple(row["sentence1"] for row in rows),
        tuple(row["sentence2"] for row in rows),
        tuple(row["score"] for row in rows),
    )


def _either(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.exists() else folder / name


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(file).strip().split("\n"), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise BadInput(f"{file}:{number} is no JSON ({error})", "Correct the line") from error


def _judgements(file: Path) -> Iterator[tuple[str, str, int]]:
    """Below a head: question, document, grade."""
    for number, line in enumerate(_text(file).splitlines()[1:], 2):
        cells = line.split("\t")
        if len(cells) != 3 or not cells[2].strip().lstrip("-").isdigit():
            raise BadInput(
                f"{file}:{number} is no judgement: {line!r:.80}",
                "Each line holds a question, a document and a grade, with tabs between",
            )
        yield cells[0], cells[1], int(cells[2])


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        return (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    except OSError as error:
        raise BadInput(
            f"{file} cannot be read: {error.strerror or error}",
            "Give the folder that holds scifact, limit_small and stsbenchmark by --data",
        ) from error
