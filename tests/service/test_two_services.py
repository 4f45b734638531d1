"""Two services on one store and one engine: each answer names what was live, none harms the other.

Fails when a switch takes names without its token (the second load is refused), when it unloads
what it did not load (answers of the other are refused), and when LIVE is not followed.
"""

import asyncio
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.live import LiveService
from tests.service.crowd import Question, Said, ask
from tests.service.product import Product, running, served
from tests.service.swapping import registered
from tests.service.trying import check_noticed
from tests.service.voices import VOICES, register_voices

RELEASES, CLIENTS = 20, 4
NOTICED = 1.0
PAUSE = 0.02
BARE = {"passages": False, "demonstrations": False, "mode": "generate"}


@dataclass
class History:
    """When each release answered: from the call that made it live to the end of the next one."""

    calls: list[tuple[float, float, int]] = field(default_factory=list)

    def late(self, number: int, began: float, ended: float) -> float:
        """For how long a release had not been live any more when an answer of it began."""
        ends = [end for _, end, _ in self.calls[1:]] + [float("inf")]
        return min(
            max(0.0, began - end)
            for (start, _, live), end in zip(self.calls, ends, strict=True)
            if live == number and start <= ended
        )


@dataclass
class Pair:
    """Two services that share everything, and a domain whose releases both activate."""

    urls: tuple[str, str]
    domain: str
    more: dict[str, object]
    history: History = field(default_factory=History)
    answers: list[tuple[Said, float, float]] = field(default_factory=list)

    def prepare(self) -> list[int]:
        """So many releases, made by both in turn; the last one is live."""
        numbers = []
        for turn in range(RELEASES):
            began = time.monotonic()
            response = httpx.put(
                f"{self.urls[turn % 2]}/v1/domains/{self.domain}/adapter",
                json={"adapter": VOICES[turn % 3]},
                timeout=60,
            )
            assert response.status_code == 200, response.text
            release = response.json()
            numbers.append(release["number"])
            self.history.calls.append((began, time.monotonic(), release["number"]))
        return numbers

    async def activate(self, numbers: Sequence[int], changes: int, pause: float) -> None:
        """One after the other, by either service, any of them."""
        chance = random.Random(5)
        async with aiohttp.ClientSession() as session:
            for _ in range(changes):
                number = chance.choice(numbers)
                path = f"/v1/domains/{self.domain}/releases/{number}/activate"
                began = time.monotonic()
                async with session.post(chance.choice(self.urls) + path) as response:
                    assert response.status == 200, await response.text()
                self.history.calls.append((began, time.monotonic(), number))
                await asyncio.sleep(chance.random() * pause)

    async def listen(self, done: asyncio.Event) -> None:
        """Clients of both, until it is done; whatever is refused is raised."""
        question = Question(self.domain, "What is it?", {"dslm": BARE, **self.more})
        async with aiohttp.ClientSession() as session:

            async def client(url: str) -> None:
                while not done.is_set():
                    began = time.monotonic()
                    said = await ask(session, url, question, stream=len(self.answers) % 2 == 0)
                    self.answers.append((said, began, time.monotonic()))
                    await asyncio.sleep(PAUSE)

            await asyncio.gather(*(client(url) for url in self.urls for _ in range(CLIENTS)))

    async def run(self, changes: int, pause: float) -> None:
        numbers = await asyncio.to_thread(self.prepare)
        await asyncio.sleep(NOTICED)
        done = asyncio.Event()
        listening = asyncio.create_task(self.listen(done))
        await self.activate(numbers, changes, pause)
        done.set()
        await listening

    def check(self) -> None:
        """A service may take its time to notice what the other did, but no longer than it says."""
        late = sorted(self.history.late(said.release, *when) for said, *when in self.answers)
        assert late[int(0.9 * len(late))] < NOTICED, late[-10:]
        assert late[-1] < 5 * NOTICED

    def live(self, url: str) -> int:
        domain = httpx.get(f"{url}/v1/domains/{self.domain}", timeout=60).json()
        number: int = domain["release"]["number"]
        return number

    def notices(self, url: str, other: str, number: int) -> float:
        """Seconds until `other` answers with what was activated at `url`."""
        path = f"{url}/v1/domains/{self.domain}/releases/{number}/activate"
        assert httpx.post(path, timeout=60).status_code == 200
        began = time.monotonic()
        while self.live(other) != number:
            assert time.monotonic() < began + 10, "never noticed"
            time.sleep(0.005)
        return time.monotonic() - began


@pytest.fixture
def beside(indexed: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[Product, Product]]:
    """Two services in this process, over a copy of the store and one fake engine."""
    store = tmp_path / "store"
    shutil.copytree(indexed[0], store)
    register_voices(store)
    with running(store, indexed[1]) as one, served(one.service.settings, one.engine) as other:
        yield one, other


async def test_every_answer_of_two_services_names_a_release_that_was_live_while_it_ran(
    beside: tuple[Product, Product],
) -> None:
    one, other = beside
    pair = Pair((one.url, other.url), "garden", {})
    await pair.run(changes=60, pause=0.2)
    pair.check()
    assert len(pair.answers) > 200
    assert {said.adapter for said, _, _ in pair.answers} == set(VOICES)
    one.until(lambda: pair.live(one.url) == pair.live(other.url), 2)
    # Of one adapter each service holds its own: what neither answers with is unloaded.
    one.until(lambda: len(one.engine.adapters) == 2, 2)


async def test_a_service_notices_within_a_second_what_another_activates(
    beside: tuple[Product, Product],
) -> None:
    one, other = beside
    pair = Pair((one.url, other.url), "garden", {})
    numbers = await asyncio.to_thread(pair.prepare)
    took = [
        await asyncio.to_thread(pair.notices, *urls, number)
        for number in numbers[:5]
        for urls in (pair.urls, pair.urls[::-1])
    ]
    check_noticed(took)


async def test_both_may_activate_at_once_and_agree_on_what_is_live(
    beside: tuple[Product, Product],
) -> None:
    one, other = beside
    pair = Pair((one.url, other.url), "garden", {})
    numbers = await asyncio.to_thread(pair.prepare)
    chance = random.Random(7)
    async with aiohttp.ClientSession() as session:

        async def activate(url: str, number: int) -> None:
            path = f"{url}/v1/domains/garden/releases/{number}/activate"
            async with session.post(path) as response:
                assert response.status == 200

        for _ in range(5):
            calls = [(url, chance.choice(numbers)) for url in pair.urls for _ in range(3)]
            await asyncio.gather(*(activate(*call) for call in calls))
    store = one.service.settings.store
    one.until(lambda: pair.live(one.url) == pair.live(other.url), 2)
    assert pair.live(one.url) == int((store / "domains" / "garden" / "LIVE").read_text())


@pytest.mark.vllm
@pytest.mark.slow
async def test_two_processes_before_one_vllm_agree_and_a_dead_one_leaves_nothing_for_long(
    live: LiveService, tmp_path: Path
) -> None:
    register_voices(live.store)
    before = httpx.get(f"{live.url}/v1/domains/support").json()["release"]["number"]
    shared = {"DSLM_STORE": str(live.store), "DSLM_ENGINE_URLS": live.engine_url}
    other = LiveService(tmp_path, shared).start()
    try:
        other.ready()
        pair = Pair((live.url, other.url), "support", {"max_tokens": 6, "temperature": 0})
        await pair.run(changes=20, pause=0.5)
        pair.check()
        assert len(pair.answers) > 50
        other.wait_for(lambda: len(registered(live, "voice@", whole=True)) == 2, 10)
    finally:
        other.child.kill()
        other.child.wait()
        path = f"{live.url}/v1/domains/support/releases/{before}/activate"
        assert httpx.post(path, timeout=60).status_code == 200
    live.wait_for(lambda: registered(live, "voice@", whole=True) == [], 10)
