"""Promise 3: swaps under load lose nothing and mix nothing, and what has drained is unloaded.

50 swaps of two domains among three versions, while 32 clients ask 10,000 questions, every other
one streamed; an answer is right if it is, byte for byte, what the version it names says when
nothing is swapped.

Seen to fail before the fake engine when `Releases._replace` closes the old release twice (answers
are lost), and when `Plan.describe` names the domain's newest release instead of the answer's own.
With 1,500 questions also when it is never closed: its adapter is not unloaded in time. The test on
vLLM was tried with none of these.
"""

import asyncio
import itertools
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import httpx
import pytest

from adapters.registry import AdapterRegistry
from indexer.settings import Paths
from tests.live import LiveService
from tests.service.crowd import Crowd, Question, Said, Swapper, ask
from tests.service.product import Product, running
from tests.service.swapping import registered
from tests.service.voices import VOICES, register_voices

SWAPS = 50
TOTAL = 10_000
ON_VLLM = int(os.environ.get("SWAP_REQUESTS", "1500"))
GENERATED = {"mode": "generate"}
BARE = {"passages": False, "demonstrations": False, **GENERATED}


async def load(url: str, crowd: Crowd, domains: tuple[str, str]) -> Swapper:
    """All of it; what is wrong with an answer is told by the crowd."""
    swapper = Swapper(url, domains, VOICES, random.Random(3))
    await asyncio.gather(crowd.ask_all(), swapper.under(crowd, SWAPS))
    return swapper


def check(url: str, crowd: Crowd, swapper: Swapper) -> None:
    """Everything came, from every version in both ways, and names its release truly."""
    assert crowd.wrong == []
    assert crowd.answered == crowd.total
    assert swapper.ways.total() == SWAPS
    assert min(swapper.ways[way] for way in ("adapter", "activate", "rollback")) > 5
    assert {key: count > 0 for key, count in crowd.by_adapter.items()} == {
        (voice, kind): True for voice in VOICES for kind in ("whole", "streamed")
    }
    adapters = {
        (domain, release["number"]): f"{release['adapter']['name']}@{release['adapter']['version']}"
        for domain in swapper.domains
        for release in httpx.get(f"{url}/v1/domains/{domain}/releases").json()["data"]
        if release["adapter"]
    }
    assert all(adapters[domain, number] == adapter for domain, number, adapter in crowd.named)


def check_pointer(url: str, store: Path, domain: str) -> None:
    """Going back makes nothing: it lets a release answer that was there."""
    folder = store / "domains" / domain
    before = sorted(path.name for path in (folder / "releases").iterdir())
    back = httpx.post(f"{url}/v1/domains/{domain}/rollback", timeout=60).json()
    assert sorted(path.name for path in (folder / "releases").iterdir()) == before
    assert int((folder / "LIVE").read_text()) == back["number"]


@pytest.fixture
def swapped(indexed: tuple[Path, Path], tmp_path: Path) -> Iterator[Product]:
    """A service over a copy of the store, with three versions to choose from."""
    store = tmp_path / "store"
    shutil.copytree(indexed[0], store)
    register_voices(store)
    with running(store, indexed[1]) as product:
        for domain in ("garden", "pantry"):
            swap(product.url, domain, VOICES[0])
        yield product


def swap(url: str, domain: str, adapter: str | None) -> None:
    body = {"adapter": adapter}
    response = httpx.put(f"{url}/v1/domains/{domain}/adapter", json=body, timeout=60)
    assert response.status_code == 200, response.text


async def test_ten_thousand_answers_across_fifty_swaps_are_each_one_versions_own(
    swapped: Product,
) -> None:
    registry = AdapterRegistry(Paths(swapped.service.settings.store))
    called = {voice: registry.engine_name(registry.get(voice)) for voice in VOICES}

    def right(question: Question, said: Said) -> bool:
        """The fake begins every answer with the name that it was asked for."""
        name, _, rest = said.text.partition(": ")
        return (name.partition(".")[0], rest) == (called[said.adapter], question.text)

    questions = [
        Question(domain, text, {"dslm": BARE})
        for domain in ("garden", "pantry")
        for text in ("When do I prune roses?", "How long does flour last?")
    ]
    crowd = Crowd(swapped.url, questions, TOTAL, right)
    swapper = await load(swapped.url, crowd, ("garden", "pantry"))
    check(swapped.url, crowd, swapper)
    check_pointer(swapped.url, swapped.service.settings.store, "garden")
    live = {called[adapter_of(swapped.url, domain)] for domain in ("garden", "pantry")}
    fake = swapped.engine
    swapped.until(lambda: {name.partition(".")[0] for name in fake.adapters} == live)
    assert len(fake.adapters) == len(live)


def adapter_of(url: str, domain: str) -> str:
    pinned = httpx.get(f"{url}/v1/domains/{domain}").json()["release"]["adapter"]
    return f"{pinned['name']}@{pinned['version']}"


@pytest.fixture
def voiced(live: LiveService) -> Iterator[LiveService]:
    """The shared service with the three versions to choose from; its domains as they were after."""
    register_voices(live.store)
    before = {domain: adapter_of(live.url, domain) for domain in ("support", "clinic")}
    yield live
    for domain, adapter in before.items():
        swap(live.url, domain, adapter)


def asked_of_vllm() -> list[Question]:
    """Short ones; a few are answered with passages and demonstrations."""
    short = {"max_tokens": 6, "temperature": 0}
    bare = [
        Question(domain, text, {**short, "dslm": BARE})
        for domain in ("support", "clinic")
        for text in ("How do I clean it?", "Where does it hang?", "Hello")
    ]
    grounded = [
        Question("support", "How often should I descale the machine?", short),
        Question("clinic", "Where does the defibrillator hang?", {**short, "dslm": GENERATED}),
    ]
    return [*bare * 8, *grounded]


@pytest.mark.vllm
@pytest.mark.slow
async def test_on_vllm_each_answer_is_what_its_version_says_when_nothing_is_swapped(
    voiced: LiveService,
) -> None:
    questions = asked_of_vllm()
    wanted = {voice: await undisturbed(voiced, voice, questions) for voice in VOICES}
    for one, other in itertools.combinations(wanted.values(), 2):
        assert not {*one.values()} & {*other.values()}

    def right(question: Question, said: Said) -> bool:
        return said.text == wanted[said.adapter][question]

    crowd = Crowd(voiced.url, questions, ON_VLLM, right)
    swapper = await load(voiced.url, crowd, ("support", "clinic"))
    check(voiced.url, crowd, swapper)
    check_pointer(voiced.url, voiced.store, "support")
    live = {adapter_of(voiced.url, domain) for domain in ("support", "clinic")}
    voiced.wait_for(lambda: len(registered(voiced, "voice@")) == len(live), 10)


async def undisturbed(
    live: LiveService, voice: str, questions: Sequence[Question]
) -> dict[Question, str]:
    """What a version says, streamed or whole, when it is asked one question at a time."""
    texts = {}
    for domain in ("support", "clinic"):
        swap(live.url, domain, voice)
    async with aiohttp.ClientSession() as session:
        for question in dict.fromkeys(questions):
            said = [await ask(session, live.url, question, stream=way) for way in (True, False)]
            assert said[0] == said[1]
            texts[question] = said[0].text
    return texts
