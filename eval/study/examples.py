"""Which solved examples of a task's pool a condition shows for a question: never its own answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from adapters.rows.likeness import alike
from eval.study.readers import Item
from eval.study.spec import ConditionSpec
from eval.study.tasks import Task

if TYPE_CHECKING:
    from indexer.records import Vectors

Embed = Callable[[list[str]], "Vectors"]
LIKE = 0.8
_SPARE = 8


def choose_examples(
    task: Task, condition: ConditionSpec, seed: int, embed: Embed
) -> list[list[Item]]:
    """For each of the task's items the examples that are shown, the most similar last.

    `similar` goes by `embed`'s cosines, `words` by BM25, `random` by the seed. An example that
    asks what the item asks, or nearly so, is never shown: as in training, by `LIKE`.
    """
    if not condition.examples:
        return [[] for _ in task.items]
    if condition.choice == "random":
        ranked = _drawn(task, condition, seed)
    elif condition.choice == "words":
        ranked = _by_words(task, condition.examples)
    else:
        ranked = _by_vectors(task, condition.examples, embed)
    shown = []
    for item, places in zip(task.items, ranked, strict=True):
        near = (task.pool[at] for at in places)
        others = (one for one in near if not alike(one.question, item.question, LIKE))
        shown.append(list(islice(others, condition.examples))[::-1])
    return shown


def _drawn(task: Task, condition: ConditionSpec, seed: int) -> list[list[int]]:
    count = min(len(task.pool), condition.examples + _SPARE)
    return [
        random.Random(f"{seed} {item.id}").sample(range(len(task.pool)), count)
        for item in task.items
    ]


def _by_vectors(task: Task, count: int, embed: Embed) -> list[list[int]]:
    pool = embed([one.question for one in task.pool])
    asked = embed([one.question for one in task.items])
    depth = min(len(task.pool), count + _SPARE)
    order: list[list[int]] = (-(asked @ pool.T)).argsort(axis=1, kind="stable")[:, :depth].tolist()
    return order


def _by_words(task: Task, count: int) -> list[list[int]]:
    """BM25 (Robertson, Lucene's variant) of bm25s, a peer of our own index."""
    import bm25s

    index = bm25s.BM25()
    texts = [one.question for one in task.pool]
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    depth = min(len(texts), count + _SPARE)
    asked = bm25s.tokenize([one.question for one in task.items], show_progress=False)
    places, _ = index.retrieve(asked, k=depth, show_progress=False)
    ranked: list[list[int]] = places.tolist()
    return ranked


def turns(task: Task, item: Item, shown: Sequence[Item]) -> list[dict[str, str]]:
    """What the task says first, the examples as earlier turns, then the question."""
    opening = task.opening(item)
    messages = [{"role": "system", "content": opening}] if opening else []
    for one in shown:
        messages.append({"role": "user", "content": task.asked(one)})
        messages.append({"role": "assistant", "content": one.answer})
    return [*messages, {"role": "user", "content": task.asked(item)}]
