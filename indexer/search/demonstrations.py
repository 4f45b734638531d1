"""Solved examples like a question, for a prompt (Dr.ICL, arXiv:2305.14128)."""

import json
from collections.abc import Collection

from indexer.records import Demonstration, Vectors
from indexer.search.diversity import unlike
from indexer.search.ranking import check_dimension, nearest
from indexer.store.snapshot import Snapshot
from indexer.store.tables import DEMONSTRATION

_CANDIDATES = 32
_SAME = 0.95  # of two examples with a greater cosine the prompt gets one
_READ = f"""
SELECT row, {DEMONSTRATION} FROM demonstrations
WHERE row IN (SELECT value FROM json_each(?)) OR id IN (SELECT value FROM json_each(?))
"""


def choose_demonstrations(
    snapshot: Snapshot, vector: Vectors, k: int, min_score: float, exclude: Collection[str]
) -> list[Demonstration]:
    """At most `k`, the most similar last: next to the question they help most."""
    index = snapshot.demonstrations
    check_dimension(index, vector)
    if k <= 0 or not index.count:
        return []
    depth = max(_CANDIDATES, 2 * k) + len(exclude)
    while True:
        near = nearest(index, vector, depth)
        found = _eligible(snapshot, near, min_score, exclude)
        kept = unlike(index.vectors(list(found)), _SAME)[:k] if found else []
        if len(kept) == k or len(near) < depth or min(near.values()) < min_score:
            break
        depth *= 4  # so many were alike or excluded
    chosen = [list(found.values())[place] for place in kept]
    return sorted(chosen, key=lambda demonstration: (demonstration.score, demonstration.id))


def _eligible(
    snapshot: Snapshot, near: dict[int, float], min_score: float, exclude: Collection[str]
) -> dict[int, Demonstration]:
    """By row, most similar first; without the excluded ones and those that repeat or join them."""
    rows = [row for row, score in near.items() if score >= min_score]
    read = {
        row: Demonstration(name, question, answer, group, near.get(row, 0.0))
        for row, name, question, answer, group in snapshot.read(
            _READ, json.dumps(rows), json.dumps(list(exclude))
        )
    }
    barred = [one for one in read.values() if one.id in exclude]
    groups = {one.group for one in barred if one.group}
    questions = {_plain(one.question) for one in barred}
    return {
        row: read[row]
        for row in rows
        if read[row].id not in exclude
        and read[row].group not in groups
        and _plain(read[row].question) not in questions
    }


def _plain(question: str) -> str:
    return " ".join(question.lower().split())
