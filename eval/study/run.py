"""Asks every question of a study that has no answer yet, all conditions in turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from eval.client import Client, ServiceRefused
from eval.progress import phase
from eval.study.examples import Embed, choose_examples, turns
from eval.study.readers import Item
from eval.study.results import Cited, Record, Results
from eval.study.spec import ConditionSpec, Study
from eval.study.tasks import Task, open_task
from indexer.errors import BadInput


@dataclass(frozen=True, slots=True)
class Question:
    """One item under one condition, as it will be asked."""

    task: Task
    item: Item
    condition: ConditionSpec
    seed: int
    messages: list[dict[str, str]]

    @property
    def key(self) -> tuple[str, str, int, str]:
        return self.task.spec.name, self.condition.name, self.seed, self.item.id


async def run_study(study: Study, results: Results, url: str, embed: Embed) -> int:
    """Ask what is missing; returns how many questions were refused and so have no answer."""
    missing = [one for one in questions(study, embed) if one.key not in results.records]
    refused = 0
    async with AsyncExitStack() as stack:
        clients = await _clients(study, url, stack)
        with phase(f"{study.name}: {len(missing)} questions", len(missing)) as advance:
            for done in asyncio.as_completed(
                [_answer(clients[one.condition.name], one) for one in missing]
            ):
                record = await done
                refused += record is None
                if record:
                    results.add(record)
                advance()
    return refused


def questions(study: Study, embed: Embed) -> list[Question]:
    """Item by item through all conditions, so that what drifts meanwhile meets them all alike.

    Each item begins with another condition: who is asked second may find a warmer cache.
    """
    made = []
    for spec in study.tasks:
        task = open_task(spec)
        for seed in study.seeds:
            asked = [one for one in study.conditions if one.is_asked(seed)]
            shown = {one.name: choose_examples(task, one, seed, embed) for one in asked}
            made += [
                Question(
                    task, item, condition, seed, turns(task, item, shown[condition.name][place])
                )
                for place, item in enumerate(task.items)
                for condition in _from(asked, place)
            ]
    return made


def _from(conditions: Sequence[ConditionSpec], place: int) -> list[ConditionSpec]:
    at = place % max(1, len(conditions))
    return [*conditions[at:], *conditions[:at]]


async def _clients(study: Study, url: str, stack: AsyncExitStack) -> Mapping[str, Client]:
    """A client for each endpoint; BadInput where a key that is named is not there."""
    opened: dict[tuple[str, str | None], Client] = {}
    for one in study.conditions:
        place = (one.url or url, one.key_env)
        if one.key_env and one.key_env not in os.environ:
            raise BadInput(
                f"The condition {one.name!r} wants a key in {one.key_env}", "Set it, and run again"
            )
        if place not in opened:
            key = os.environ[one.key_env] if one.key_env else None
            client = Client(place[0], concurrency=study.concurrency, key=key)
            opened[place] = await stack.enter_async_context(client)
    return {one.name: opened[one.url or url, one.key_env] for one in study.conditions}


async def _answer(client: Client, asked: Question) -> Record | None:
    """The judged answer; None where the endpoint refused the question for good."""
    spec = asked.task.spec
    options: dict[str, Any] = {
        "temperature": 0,
        "seed": asked.seed,
        "max_tokens": spec.max_tokens,
    }
    if spec.stop:
        options["stop"] = list(spec.stop)
    if asked.condition.dslm:
        options["dslm"] = asked.condition.dslm
    try:
        answer = await client.chat(asked.condition.model_of(asked.seed), asked.messages, options)
    except ServiceRefused:
        return None
    verdict = asked.task.judge(answer.text, asked.item)
    return Record(
        task=spec.name,
        condition=asked.condition.name,
        seed=asked.seed,
        item=asked.item.id,
        messages=asked.messages,
        expected=asked.item.answer,
        answer=answer.text,
        score=verdict.score,
        found=verdict.found,
        rule=verdict.rule,
        finish_reason=answer.finish_reason,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        seconds=answer.seconds,
        release=_release(answer.dslm),
        parts=dict(verdict.parts),
        cited=[
            Cited(start=one.marker[0], end=one.marker[1], quote=one.quote)
            for one in answer.citations
        ],
        refused=bool(answer.dslm.get("refused")),
    )


def _release(dslm: Mapping[str, Any]) -> str | None:
    found = dslm.get("release")
    return str(found) if found is not None else None


def scores(records: Sequence[Record]) -> dict[str, list[float]]:
    """By condition the score of each item, in the items' order: the mean over seeds."""
    told: dict[str, dict[str, list[float]]] = {}
    for one in records:
        told.setdefault(one.condition, {}).setdefault(one.item, []).append(one.score)
    shared = set.intersection(*(set(items) for items in told.values())) if told else set()
    return {
        name: [sum(items[item]) / len(items[item]) for item in sorted(shared)]
        for name, items in told.items()
    }
