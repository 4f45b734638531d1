"""What retrieval and composition add to the time to the first token, on the served path.

Each question is asked three times: new, so that it is embedded; again, when its vector is known
and all else is looked up and composed anew; and with both switched off. The difference of the last
two is what is added beyond embedding.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np

from adapters.release import ReleaseStore
from eval.bench.indexing_child import run_child
from eval.bench.json_answers import ALONE
from eval.bench.relay import ChunksLost
from eval.bench.search_vectors import synthetic
from eval.bench.search_whole import Texts
from eval.bench.targets import CONTEXT, Say, answering, cpu_seconds
from eval.progress import phase
from eval.report import Grid
from eval.running import ROOT, free_port, running_process, running_service
from indexer.domain import load_domain
from indexer.index.vectors import MatrixSource
from indexer.settings import Paths
from indexer.store.snapshot import SnapshotContent, open_snapshot, write_snapshot
from indexer.store.tables import chunk_row, document_row

NAME = "bench"
DOMAIN = """title = "made up"
[answer]
mode = "generate"
[retrieval]
passages = 4
demonstrations = 0
min_passage_score = -1.0
"""
_STRIDE = 7919  # a prime: questions to chunks all over the snapshot


@dataclass(frozen=True, slots=True)
class AddedSettings:
    """`questions` one after another, then as many `at_once` as given, over so many `chunks`."""

    chunks: int = 100_000
    questions: int = 200
    at_once: int = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """Milliseconds to the first part: new, with a known vector, and without retrieval."""

    new: tuple[float, ...]
    known: tuple[float, ...]
    without: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Throughput:
    """New questions: milliseconds of the clock and of the service's CPU for each."""

    at_once: int
    wall: float
    processor: float
    batch: float


async def measure(
    settings: AddedSettings, folder: Path, say: Say
) -> tuple[Asked, list[Throughput]]:
    """Index, start the service over a scripted engine, ask."""
    variables = _settings(folder)
    _index(settings.chunks, folder, variables, say)
    port, log = free_port(), folder / "upstream.log"
    upstream = [sys.executable, "-m", "eval.bench.upstream", str(port), "0"]
    variables["DSLM_ENGINE_URLS"] = f"http://127.0.0.1:{port}"
    texts = Texts(settings.chunks)
    count = settings.questions
    asked = [texts.question(n * _STRIDE % settings.chunks) for n in range(3 * count + 20)]
    with running_process(upstream, log, {}), running_service(folder, variables) as own:
        await answering(f"{own.url}/ready", own.process, own.log)
        async with aiohttp.ClientSession() as session:
            for question in asked[:20]:
                await _first(session, own.url, question, {})
            times = await _in_turns(session, own.url, asked[20 : 20 + count])
            rates = []
            for turn, at_once in enumerate((1, settings.at_once)):
                new = asked[20 + (turn + 1) * count :][:count]
                say(f"{at_once} at once")
                rates.append(await _rate(session, own.url, own.process.pid, new, at_once))
    return times, rates


def grids(asked: Asked, rates: Sequence[Throughput], chunks: int) -> list[Grid]:
    added = [known - less for known, less in zip(asked.known, asked.without, strict=True)]
    embedding = [new - known for new, known in zip(asked.new, asked.known, strict=True)]
    series = (
        ("without retrieval", asked.without, "-"),
        ("with retrieval, the question's vector known", asked.known, "-"),
        ("with retrieval, a new question", asked.new, "-"),
        ("retrieval and composition add, beyond embedding", added, "3 ms or less"),
        ("embedding the question adds", embedding, "-"),
    )
    rows = tuple(
        (name, *(f"{np.percentile(values, rank):.1f}" for rank in (50, 90, 99)), aim)
        for name, values, aim in series
    )
    title = f"Time to the first token, {chunks:,} chunks, {len(asked.new)} questions"
    head = ("asked", "p50 ms", "p90 ms", "p99 ms", "aim for p50")
    one = rates[0]
    batches = tuple(
        (
            str(rate.at_once),
            f"{1000 / rate.wall:.1f}",
            f"{one.wall / rate.wall:.2f}",
            f"{rate.processor:.1f}",
            f"{rate.batch:.1f}",
        )
        for rate in rates
    )
    columns = ("at once", "per second", "ratio", "ms of CPU each", "questions in a batch")
    return [Grid(title, head, rows), Grid("New questions", columns, batches)]


def _settings(folder: Path) -> dict[str, str]:
    domain = folder / "domains" / NAME
    (domain / "documents").mkdir(parents=True)
    (domain / "domain.toml").write_text(DOMAIN, encoding="utf-8")
    (domain / "documents" / "one.md").write_text("# One\n\nA first document.\n", encoding="utf-8")
    return {
        "DSLM_DOMAINS": str(folder / "domains"),
        "DSLM_STORE": str(folder / "store"),
        "DSLM_MAX_MODEL_LEN": CONTEXT,
    }


def _index(chunks: int, folder: Path, variables: dict[str, str], say: Say) -> None:
    """A release of a small index says how to embed; then one of the large index is made of it."""
    run_child([sys.executable, "-m", "dslm", "index", NAME], ROOT, variables)
    paths = Paths(folder / "store")
    store = ReleaseStore(paths)
    live = store.live(NAME)
    assert live is not None
    small = open_snapshot(paths.snapshot(NAME, live.snapshot))
    mark = small.manifest.embedder
    small.close()
    say(f"a snapshot of {chunks:,} chunks")
    texts = Texts(chunks)
    nothing = MatrixSource(np.empty((0, mark.dimension), dtype=np.float32))
    content = SnapshotContent(
        domain=NAME,
        documents=map(document_row, texts.documents()),
        chunks=map(chunk_row, texts.chunks()),
        demonstrations=(),
        passage_vectors=MatrixSource(synthetic(chunks, mark.dimension, 1).matrix),
        demonstration_vectors=nothing,
        embedder=mark,
    )
    store.create(load_domain(folder / "domains" / NAME), snapshot=write_snapshot(paths, content))


async def _in_turns(session: aiohttp.ClientSession, url: str, questions: Sequence[str]) -> Asked:
    new, known, without = [], [], []
    with phase("asking", len(questions)) as advance:
        for question in questions:
            new.append(await _first(session, url, question, {}))
            known.append(await _first(session, url, question, {}))
            without.append(await _first(session, url, question, {"dslm": ALONE}))
            advance()
    return Asked(tuple(new), tuple(known), tuple(without))


async def _first(
    session: aiohttp.ClientSession, url: str, question: str, more: dict[str, Any]
) -> float:
    """Milliseconds to the first part of a stream, which is read to its end."""
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 1,
        "stream": True,
        **more,
    }
    began = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
        content = await reply.content.readany()
        took = time.perf_counter() - began
        content += await reply.read()
        if reply.status != 200 or not content.endswith(b"data: [DONE]\n\n"):
            raise ChunksLost(f"The service answered {reply.status}: {content[-300:]!r}")
    return 1000 * took


async def _rate(
    session: aiohttp.ClientSession, url: str, pid: int, questions: Sequence[str], at_once: int
) -> Throughput:
    left = iter(questions)
    batches, began, before = await _batches(url), time.perf_counter(), cpu_seconds(pid)

    async def worker() -> None:
        for question in left:
            await _first(session, url, question, {})

    await asyncio.gather(*(worker() for _ in range(at_once)))
    wall, processor = time.perf_counter() - began, cpu_seconds(pid) - before
    count = len(questions)
    batch = count / max(1, await _batches(url) - batches)
    return Throughput(at_once, 1000 * wall / count, 1000 * processor / count, batch)


async def _batches(url: str) -> float:
    """How often the service has embedded so far."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{url}/metrics")).text
    (line,) = [x for x in text.splitlines() if x.startswith("dslm_question_batch_size_count ")]
    return float(line.rpartition(" ")[2])
