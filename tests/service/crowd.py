"""Many clients at once, each of which knows what every version says; and swaps under them."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

CLIENTS = 32
WHOLE, STREAMED = "whole", "streamed"


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: its text, and which adapter and release it names."""

    text: str
    adapter: str
    release: int


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked of a domain; `more` are other fields of the body."""

    domain: str
    text: str
    more: Mapping[str, Any]

    def body(self, *, stream: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.text}]
        return {"model": self.domain, "messages": messages, "stream": stream, **self.more}


# Is this what the adapter that the answer names says to this question?
Right = Callable[[Question, Said], bool]


@dataclass
class Crowd:
    """Asks `total` questions, every other one streamed, and keeps whatever is not right."""

    url: str
    questions: Sequence[Question]
    total: int
    right: Right
    asked: int = 0
    answered: int = 0
    by_adapter: Counter[tuple[str, str]] = field(default_factory=Counter)
    named: set[tuple[str, int, str]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    async def ask_all(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=300)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    async def reached(self, answers: int) -> None:
        """Wait for so many."""
        while self.answered < min(answers, self.total):
            await asyncio.sleep(0.002)

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self.asked < self.total:
            number = self.asked
            self.asked += 1
            question = self.questions[number % len(self.questions)]
            stream = number // len(self.questions) % 2 == 0
            try:
                said = await ask(session, self.url, question, stream=stream)
            except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
                self.wrong.append(f"{number}: {error!r}")
            else:
                kind = STREAMED if stream else WHOLE
                self.by_adapter[said.adapter, kind] += 1
                self.named.add((question.domain, said.release, said.adapter))
                if not self.right(question, said):
                    self.wrong.append(f"{number}: {said}")
            self.answered += 1


async def ask(
    session: aiohttp.ClientSession, url: str, question: Question, *, stream: bool
) -> Said:
    """One answer; AssertionError unless it is whole."""
    body = question.body(stream=stream)
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        content = await response.text()
        assert response.status == 200, (response.status, content)
    return read_stream(content) if stream else read_whole(json.loads(content))


def read_whole(answer: dict[str, Any]) -> Said:
    about = answer["dslm"]
    return Said(answer["choices"][0]["message"]["content"], about["adapter"], about["release"])


def read_stream(content: str) -> Said:
    """A stream must end with what it names, then `[DONE]`, and hold no error."""
    events = [line[6:] for line in content.splitlines() if line.startswith("data: ")]
    assert events[-1:] == ["[DONE]"], content[-300:]
    chunks = [json.loads(event) for event in events[:-1]]
    assert not any("error" in chunk for chunk in chunks), content[-300:]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    about = next(chunk["dslm"] for chunk in chunks if "dslm" in chunk)
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return Said(text, about["adapter"], about["release"])


@dataclass
class Swapper:
    """Changes what domains answer with: by a new release, by one that was, or by going back."""

    url: str
    domains: Sequence[str]
    versions: Sequence[str]
    chance: random.Random
    releases: dict[str, list[int]] = field(default_factory=dict)
    ways: Counter[str] = field(default_factory=Counter)

    async def under(self, crowd: Crowd, swaps: int) -> None:
        """So many, evenly spread over the crowd's answers."""
        timeout = aiohttp.ClientTimeout(total=300)
        async with aiohttp.ClientSession(self.url, timeout=timeout) as session:
            for turn in range(swaps):
                await crowd.reached(crowd.total * (turn + 1) // (swaps + 1))
                await self._swap(session, self.domains[turn % len(self.domains)])

    async def _swap(self, session: aiohttp.ClientSession, domain: str) -> None:
        made = self.releases.setdefault(domain, [])
        way = (
            self.chance.choice(["adapter", "activate", "rollback"]) if len(made) > 2 else "adapter"
        )
        path = f"/v1/domains/{domain}/{way}"
        if way == "adapter":
            call = session.put(path, json={"adapter": self.chance.choice(self.versions)})
        elif way == "activate":
            call = session.post(f"/v1/domains/{domain}/releases/{self.chance.choice(made)}/{way}")
        else:
            call = session.post(path)
        async with call as response:
            release = await response.json()
            assert response.status == 200, (way, release)
        self.ways[way] += 1
        if way == "adapter":
            made.append(release["number"])
