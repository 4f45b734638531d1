"""How much of a composed prompt an engine's prefix cache can know, for several orders of its parts.

Computed exactly on the prompts that the service composes: with the base's own chat template and
tokens, in blocks of 16 tokens as vLLM's cache has them, nothing ever evicted. No engine is asked.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from transformers import AutoTokenizer

from eval.bench.relay import ChunksLost
from eval.bench.targets import DOMAIN_NAME, Say, answering, service_settings
from eval.questions import read_questions
from eval.report import Grid
from eval.running import ROOT, free_port, running_process, running_service

BLOCK = 16
BASE = ROOT / "deploy" / "demo" / "model"
QUESTIONS = ROOT / "deploy" / "demo" / "domains" / DOMAIN_NAME / "questions.jsonl"
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Composed:
    """One question and the messages that the engine got for it."""

    question: str
    messages: tuple[Message, ...]

    def parts(self) -> tuple[list[Message], list[Message], str]:
        """The system message, if any; the demonstrations' turns; what is around the question."""
        *turns, last = self.messages
        system = [turn for turn in turns if turn["role"] == "system"]
        shown = [turn for turn in turns if turn["role"] != "system"]
        passages, found, after = last["content"].rpartition(self.question)
        return system, shown, passages + after if found else ""


Order = Callable[[Composed], list[Message]]


def as_composed(one: Composed) -> list[Message]:
    """System, demonstrations with the most similar last, passages, question."""
    return list(one.messages)


def demonstrations_sorted(one: Composed) -> list[Message]:
    """The same, demonstrations in an order that is the same for every question."""
    system, shown, _ = one.parts()
    pairs = sorted((shown[at : at + 2] for at in range(0, len(shown), 2)), key=str)
    return [*system, *(turn for pair in pairs for turn in pair), one.messages[-1]]


def passages_first(one: Composed) -> list[Message]:
    """The passages before the demonstrations, in a turn of the system's."""
    system, shown, passages = one.parts()
    question = {"role": "user", "content": one.question}
    return [*system, {"role": "system", "content": passages}, *shown, question]


def question_first(one: Composed) -> list[Message]:
    """The question before everything but the system message."""
    system, shown, passages = one.parts()
    asked = [{"role": "user", "content": one.question}]
    return [*system, *asked, *shown, {"role": "user", "content": passages}]


ORDERS: dict[str, Order] = {
    "system, demonstrations by likeness, passages, question (ours)": as_composed,
    "system, demonstrations in one order, passages, question": demonstrations_sorted,
    "system, passages, demonstrations, question": passages_first,
    "system, question, demonstrations, passages": question_first,
}


async def measure(folder: Path, say: Say) -> Grid:
    """Have the held-out questions of a domain composed, and count."""
    composed = await _composed(folder, say)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(BASE))

    def tokens(messages: list[Message]) -> list[int]:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    rows = []
    for name, order in ORDERS.items():
        prompts = [tokens(order(one)) for one in composed]
        length = sum(map(len, prompts)) / len(prompts)
        rows.append((name, f"{100 * shared(prompts):.1f} %", f"{length:.0f}"))
    title = f"Prefix cache over {len(composed)} questions of `{DOMAIN_NAME}`, computed on prompts"
    return Grid(title, ("order of parts", "tokens in the cache", "tokens of a prompt"), tuple(rows))


def shared(prompts: Sequence[Sequence[int]], block: int = BLOCK) -> float:
    """Share of all tokens that lie in blocks which an earlier prompt began with as well.

    The last token is always computed, so a block that ends the prompt does not count.
    """
    known: set[int] = set()
    hits = total = 0
    for prompt in prompts:
        seen, unbroken = 0, True
        total += len(prompt)
        for at in range(0, len(prompt) - block + 1, block):
            seen = hash((seen, tuple(prompt[at : at + block])))
            unbroken = unbroken and seen in known
            known.add(seen)
            hits += block if unbroken else 0
        hits -= block if unbroken and prompt and len(prompt) % block == 0 else 0
    return hits / total if total else 0.0


async def _composed(folder: Path, say: Say) -> list[Composed]:
    port = free_port()
    upstream = [sys.executable, "-m", "eval.bench.upstream", str(port), "0"]
    variables = service_settings(folder, f"http://127.0.0.1:{port}")
    del variables["DSLM_MAX_MODEL_LEN"]  # or the prompts would be longer than the base's context
    say("prompts of the held-out questions")
    with running_process(upstream, folder / "upstream.log", {}):
        with running_service(folder, variables) as own:
            await answering(f"{own.url}/ready", own.process, own.log)
            async with aiohttp.ClientSession() as session:
                found = [
                    await _one(session, own.url, one.question) for one in read_questions(QUESTIONS)
                ]
    return [one for one in found if one.messages]


async def _one(session: aiohttp.ClientSession, url: str, question: str) -> Composed:
    body = {
        "model": DOMAIN_NAME,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 32,
        "dslm": {"explain": True},
    }
    async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
        answer = await reply.json()
        if reply.status != 200:
            raise ChunksLost(f"The service answered {reply.status}: {answer}")
    return Composed(question, tuple(answer["dslm"]["explain"]["messages"]))
