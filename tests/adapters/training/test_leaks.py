"""No row is trained with itself, or with what asks nearly the same, as a demonstration.

Over sets where the answer stands among the demonstrations of its own question: GSM8K's training
set, 7,473 problems, some of which are each other's inverse, and a small set of our own.
"""

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from adapters.lookup import Lookup
from adapters.training.rendering import Rendering, Row, posed
from adapters.training.shots import Shots, ShotSettings
from indexer.index.rows import MatrixSource
from indexer.records import Demonstration, Vectors
from indexer.search.retriever import Retriever
from indexer.store.draft import SnapshotContent, write_files
from indexer.store.manifest import EmbedderMark
from indexer.store.snapshot import open_snapshot
from indexer.store.tables import chunk_row, document_row
from tests.indexer.search.shelf import chunks, document

from .test_shots import opened as kitchen

GSM8K = Path(__file__).resolve().parents[4] / "shared" / "data" / "gsm8k" / "train.jsonl.gz"
DIMENSION = 48
SHOWN = 4
RENDERING = Rendering("sentences", "Solve it.", "Not said.", frozenset({2}))
MARK = EmbedderMark(name="words", dtype="fp32", fingerprint="words/1", space="w", dimension=48)
_WORD = re.compile(r"[a-z]+|\d+")
Solved = Sequence[tuple[str, str]]


class WordVectors:
    """What shares words is near: the worst case, for then a near-duplicate is found first."""

    def __init__(self) -> None:
        self._word = lru_cache(None)(_direction)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        rows = [sum(map(self._word, words(text)), np.full(DIMENSION, 1e-3)) for text in texts]
        matrix = np.stack(rows)
        unit: Vectors = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
        return unit

    embed_queries = embed_symmetric = __call__


def _direction(word: str) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIMENSION)


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@contextmanager
def shelved(folder: Path, solved: Solved) -> Iterator[Lookup]:
    """A snapshot whose demonstrations are the rows themselves, under ids of its own."""
    embed = WordVectors()
    only = document("a.md", ["So that there is a passage."])
    content = SnapshotContent(
        domain="sums",
        documents=[document_row(only)],
        chunks=map(chunk_row, chunks(only)),
        demonstrations=[
            Demonstration(f"catalog-{number}", question, answer, "")
            for number, (question, answer) in enumerate(solved)
        ],
        passage_vectors=MatrixSource(embed(["So that there is a passage."])),
        demonstration_vectors=MatrixSource(embed([question for question, _ in solved])),
        embedder=MARK,
    )
    (folder / "shelf").mkdir()
    write_files(folder / "shelf", content)
    with (
        kitchen(folder / "kitchen") as other,
        closing(Retriever(open_snapshot(folder / "shelf"))) as retriever,
    ):
        yield replace(other, retriever=retriever, embedder=cast(Any, embed))


def shown(folder: Path, solved: Solved) -> list[tuple[str, list[str]]]:
    """Each question with those of the solved examples that stand in its composed prompt."""
    rows = [
        Row(f"r:{number}", ({"role": "user", "content": question},), answer)
        for number, (question, answer) in enumerate(solved)
    ]
    found = []
    with shelved(folder, solved) as lookup:
        for row in Shots(lookup, RENDERING, ShotSettings(SHOWN)).pose(rows):
            turns = posed(row, RENDERING).messages
            asked = [turn["content"] for turn in turns if turn["role"] == "user"]
            assert asked[-1].endswith(row.messages[0]["content"])
            found.append((row.messages[0]["content"], asked[:-1]))
    return found


def near_duplicate(one: str, other: str) -> bool:
    """By other means than the product's: nine words of ten, or thirteen running, are the same."""
    first, second = words(one), words(other)
    mine, theirs = set(first), set(second)
    if len(mine & theirs) >= 0.9 * len(mine | theirs):
        return True
    return bool(thirteen(first) & thirteen(second))


def thirteen(said: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(said[at : at + 13]) for at in range(len(said) - 12)}


def leaks(found: Sequence[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    return [(one, other) for one, others in found for other in others if near_duplicate(one, other)]


@pytest.mark.slow
@pytest.mark.skipif(not GSM8K.exists(), reason="no ../shared/data/gsm8k/train.jsonl.gz")
def test_over_all_of_gsm8k_no_row_sees_itself_or_a_near_duplicate(tmp_path: Path) -> None:
    with gzip.open(GSM8K, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    solved = [(row["question"], row["answer"]) for row in rows]
    assert len(solved) == 7473
    found = shown(tmp_path, solved)
    assert leaks(found) == []
    counts = Counter(len(others) for _, others in found)
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert min(counts.values()) > 1200  # a fifth of the rows sees each number of them


OURS = [
    ("Ann has 12 pears and gives 5 to Ben. How many pears has Ann left?", "7"),
    ("ann has 12 pears, and gives 5 to Ben; how many pears has Ann left", "7"),
    ("Cas has 30 figs, then eats 8. How many figs are left?", "22"),
    ("A boat takes 3 days upstream and 2 days back. How long is the boat away?", "5 days"),
    (
        "A mill grinds nine sacks of rye every day, and half as many sacks of oats on each of the"
        " other two days. How many sacks is that in a week of five days?",
        "45",
    ),
    (
        "After five days 45 sacks lie there. A mill grinds some sacks of rye every day, and half as"
        " many sacks of oats on each of the other two days. How many is some?",
        "9",
    ),
]


def test_of_our_own_sums_none_sees_itself_or_a_near_duplicate(tmp_path: Path) -> None:
    found = shown(tmp_path, OURS * 3)  # each three times, under three ids
    assert leaks(found) == []
    assert any(others for _, others in found)


def test_without_the_guard_every_row_would_see_what_gives_it_away(tmp_path: Path) -> None:
    with shelved(tmp_path, OURS) as lookup:
        for question in lookup.ask([question for question, _ in OURS]):
            assert question.similar is not None
            found = lookup.retriever.demonstrations(question.similar, 9)
            assert near_duplicate(found[-1].question, question.text)


def test_the_words_of_an_instruction_that_all_rows_share_give_nothing_away(tmp_path: Path) -> None:
    start = "Say in one word what the customer of our little shop wants from us in this message: "
    asked = (
        "my jar broke,where is the parcel,please call me,I want it blue,no lid came,is it too late"
        " now,how heavy is a crate,send an invoice,the glue is dry,two boxes are empty,who are you"
        ",do you open on Sunday,may I pay later,it smells of tar,thank you all"
    )
    solved = [(start + one, "x") for one in asked.split(",")]
    found = shown(tmp_path, solved)
    assert max(len(others) for _, others in found) > 1
    assert not [one for one, others in found if one in others]


def test_near_duplicates_are_told_by_the_test_itself() -> None:
    first, copy, _, far, whole, inverse = (question for question, _ in OURS)
    assert near_duplicate(first, copy)
    assert near_duplicate(whole, inverse)
    assert not near_duplicate(first, far)
    assert all(not near_duplicate(*pair) for pair in pairwise([first, far, whole]))
