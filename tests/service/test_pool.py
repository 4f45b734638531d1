"""Which engine answers: affinity that stays, overflow, and failover that no client notices."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from indexer.settings import Paths
from service.api.protocol import BoundedProtocol
from service.app import create_app
from service.bootstrap import build
from service.engines.bases import ServedBase
from service.engines.entries import EngineEntry
from service.engines.fleet import Engines
from service.engines.pool import EASY, EnginePool, Unit, ranked
from service.engines.switch import Registered
from service.errors import EngineRejected, Overloaded, Unavailable
from service.settings import DEMO, ServiceSettings
from service.telemetry import Telemetry
from tests.live import ROOT, LiveService, free_port
from tests.service.fake_engine import FakeEngine, serving
from tests.service.product import Product
from tests.service.test_switch import manifest

BASE = ServedBase(EngineEntry(name="base", base="x"), "x", "0", 100, None)


@dataclass(eq=False)
class Watched:
    """Supervisor, switch and client of one engine, as far as the pool knows them."""

    name: str
    ready: bool = True
    failed: bool = False
    full: bool = False
    refuses: bool = False
    base_name: str = "base"
    loads: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def require_ready(self) -> None:
        if not self.ready:
            raise Unavailable("away", retry_after=len(self.name))

    async def acquire(self, wanted: Any) -> Registered:
        await asyncio.sleep(0)
        if self.full:
            raise Overloaded("full")
        if self.refuses:
            raise EngineRejected(400, "no")
        self.loads[wanted.digest] += 1
        return Registered(wanted, f"{wanted.digest} at {self.name}", folder=Unchanged())  # type: ignore[arg-type]

    def release(self, entry: Registered) -> None:
        self.loads[entry.manifest.digest] -= 1

    async def hold(self, entry: Registered) -> None:
        self.answers[entry.manifest.digest] += 1

    def let_go(self, entry: Registered) -> None:
        self.answers[entry.manifest.digest] -= 1

    @property
    def holds(self) -> set[str]:
        return {digest for digest, users in self.loads.items() if users}


class Unchanged:
    """A folder that nobody has touched."""

    def check_unchanged(self) -> None:
        return


def pool_of(names: str, base: ServedBase = BASE) -> tuple[EnginePool, dict[str, Watched]]:
    """A pool of engines with one letter for a name each."""
    known = {name: Watched(name) for name in names}
    telemetry = Telemetry()
    units = [
        Unit(name, one, one, one, telemetry.of_engine(name))  # type: ignore[arg-type]
        for name, one in known.items()
    ]
    return EnginePool(base, units), known


def order(pool: EnginePool, affinity: str) -> list[str]:
    return [unit.name for unit in ranked(pool.units, affinity)]


def test_an_engine_that_comes_takes_a_fair_part_and_moves_nothing_else() -> None:
    few, many = pool_of("abcd")[0], pool_of("abcde")[0]
    before = {f"adapter {n}": few.pick(f"adapter {n}").name for n in range(500)}
    after = {name: many.pick(name).name for name in before}
    moved = [name for name in before if before[name] != after[name]]
    assert {after[name] for name in moved} == {"e"}
    assert 60 < len(moved) < 140
    assert min(Counter(after.values()).values()) > 60


def test_an_engine_that_goes_gives_what_it_had_to_the_others_and_they_keep_theirs() -> None:
    pool, known = pool_of("abcd")
    before = {f"adapter {n}": pool.pick(f"adapter {n}").name for n in range(200)}
    known["b"].ready = False
    after = {name: pool.pick(name).name for name in before}
    assert all(after[name] == was for name, was in before.items() if was != "b")
    heirs = Counter(after[name] for name, was in before.items() if was == "b")
    assert set(heirs) == {"a", "c", "d"}


async def test_an_open_releases_adapter_is_held_by_two_engines_until_it_is_let_go() -> None:
    pool, known = pool_of("abcd")
    held = await pool.hold(manifest("x"))
    homes = order(pool, "x")[:2]
    assert [name for name, one in known.items() if one.holds] == sorted(homes)
    lease = await pool.lease(held)
    assert (lease.unit.name, lease.called) == (homes[0], f"x at {homes[0]}")
    pool.finish(lease)
    pool.let_go(held)
    assert not any(one.holds for one in known.values())
    assert not any(one.answers.total() for one in known.values())


async def test_one_home_is_enough_and_one_refusal_too_much() -> None:
    pool, known = pool_of("abc")
    first, second, _ = order(pool, "x")
    known[first].full = True
    held = await pool.hold(manifest("x"))
    assert known[second].holds == {"x"}
    assert (await pool.lease(held)).unit.name == second
    pool.let_go(held)
    known[second].refuses = True
    known[first].full = False
    with pytest.raises(EngineRejected):
        await pool.hold(manifest("x"))
    known[second].refuses, known[first].full, known[second].full = False, True, True
    with pytest.raises(Overloaded):
        await pool.hold(manifest("x"))
    assert not any(one.holds for one in known.values())


async def test_beyond_its_share_an_engine_is_helped_first_by_the_one_that_holds_it_too() -> None:
    pool, known = pool_of("abcd")
    held = await pool.hold(manifest("x"))
    leases = [await pool.lease(held) for _ in range(4 * EASY)]
    taken = Counter(lease.unit.name for lease in leases)
    first, second, *_ = order(pool, "x")
    assert [lease.unit.name for lease in leases[:EASY]] == [first] * EASY
    assert [lease.unit.name for lease in leases[EASY : 2 * EASY]] == [second] * EASY
    assert max(taken.values()) <= 1.25 * sum(taken.values()) / len(taken) + 1
    assert all(one.holds == {"x"} for one in known.values())
    for lease in leases:
        pool.finish(lease)
    assert all(unit.in_flight == 0 for unit in pool.units)
    pool.let_go(held)
    assert not any(one.holds for one in known.values())


async def test_without_an_adapter_the_least_loaded_answers_or_the_domains_own() -> None:
    pool, _ = pool_of("abc")
    bare = [(await pool.lease(None)).unit.name for _ in range(6)]
    assert Counter(bare) == {"a": 2, "b": 2, "c": 2}
    alike = {(await pool.lease(None, "garden")).unit.name for _ in range(3)}
    assert alike == {order(pool, "garden")[0]}


@pytest.mark.parametrize("trouble", ["ready", "full", "refuses"])
async def test_another_answers_where_the_first_is_away_full_or_refuses(trouble: str) -> None:
    pool, known = pool_of("abc")
    first, second, third = order(pool, "x")
    held = await pool.hold(manifest("x"))
    for name in (first, second):
        setattr(known[name], trouble, trouble != "ready")
        held.places.pop(next(unit for unit in pool.units if unit.name == name))
    lease = await pool.lease(held)
    assert lease.unit.name == third
    assert [unit.in_flight for unit in pool.units].count(1) == 1
    setattr(known[third], trouble, trouble != "ready")
    pool.finish(lease)
    held.places.clear()
    with pytest.raises((Unavailable, Overloaded, EngineRejected)):
        await pool.lease(held)
    assert all(unit.in_flight == 0 for unit in pool.units)


async def test_what_failed_is_tried_again_only_where_there_is_no_other() -> None:
    pool, known = pool_of("ab")
    first = pool.pick("x")
    lease = await pool.lease(None, "x", (first,))
    assert lease.unit is not first
    known[lease.unit.name].ready = False
    assert (await pool.lease(None, "x", (first,))).unit is first


async def test_many_requests_that_overflow_at_once_load_the_adapter_there_once() -> None:
    pool, known = pool_of("abc")
    held = await pool.hold(manifest("x"))
    leases = await asyncio.gather(*(pool.lease(held) for _ in range(60)))
    assert [one.loads["x"] for one in known.values()] == [1, 1, 1]
    for lease in leases:
        pool.finish(lease)
    assert not any(one.answers.total() for one in known.values())


def test_a_pool_says_the_shortest_wait_and_fails_only_as_a_whole() -> None:
    pool, known = pool_of("ab")
    known["a"].ready, known["a"].failed = False, True
    assert pool.ready
    assert not pool.failed
    known["b"].ready, known["b"].failed = False, True
    assert pool.failed
    with pytest.raises(Unavailable) as refused:
        pool.require_ready()
    assert refused.value.retry_after == 1


def test_the_service_is_ready_without_others_models_and_without_a_base_that_crashed() -> None:
    (own, engine), (second, crashed) = pool_of("a"), pool_of("b")
    entry = EngineEntry(name="large", urls=("http://x",), model="m", context=99)
    outside, away = pool_of("c", ServedBase(entry, "m", "1", 99, None))
    away["c"].ready = False
    engines = Engines({"base": own, "second": second, "large": outside})
    assert engines.ready
    crashed["b"].ready = False
    assert not engines.ready
    crashed["b"].failed = True
    assert engines.ready
    assert not engines.failed
    engine["a"].ready, engine["a"].failed, away["c"].failed = False, True, True
    assert engines.failed


def test_a_release_is_answered_by_the_base_that_it_was_made_for() -> None:
    old = ServedBase(EngineEntry(name="old", base="y"), "y", "1", 100, None)
    first, other = pool_of("a")[0], pool_of("b", old)[0]
    engines = Engines({"base": first, "old": other})
    assert engines.answering("1", "base") is other
    assert engines.answering("0", "base") is first
    assert engines.answering(None, "old") is other
    assert engines.answering("unknown", "old") is other


@pytest.fixture(scope="module")
def stocked(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The two domains, and an adapter that either can have."""
    folder, domains = tmp_path_factory.mktemp("stocked") / "store", indexed[1]
    shutil.copytree(indexed[0], folder)
    base = BaseProfile.read(DEMO / "model")
    AdapterRegistry(Paths(folder)).add(DEMO / "adapters" / "support-style-v1", base=base)
    return folder, domains


@contextmanager
def in_front(store: Path, domains: Path, urls: list[str], **more: Any) -> Iterator[Product]:
    """The service before engines at these addresses."""
    settings = {"engine_idle_seconds": 0, **more}
    service = build(
        ServiceSettings(store=store, domains=domains, engine_urls=" ".join(urls), **settings)
    )
    with serving(create_app(service), http=BoundedProtocol, server_header=False) as url:
        product = Product(url, FakeEngine(), service)
        product.until(lambda: service.engines.ready)
        product.until(lambda: len(service.releases.live()) == len(service.releases.domains))
        service.provisioned.set()
        yield product


@contextmanager
def several(
    stocked: tuple[Path, Path], count: int, adapter: str | None = "support-style@1"
) -> Iterator[tuple[Product, list[FakeEngine]]]:
    """The service before so many fake engines, the garden's adapter registered."""
    fakes = [FakeEngine() for _ in range(count)]
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(fake.app)) for fake in fakes]
        product = stack.enter_context(in_front(*stocked, urls))
        product.until(lambda: all(unit.ready for unit in product.service.engines.units))
        set_adapter(product, adapter)
        yield product, fakes


def set_adapter(product: Product, adapter: str | None) -> None:
    import httpx

    url = f"{product.url}/v1/domains/garden/adapter"
    httpx.put(url, json={"adapter": adapter}, timeout=30).raise_for_status()


def asked(fakes: list[FakeEngine]) -> list[int]:
    return [len(fake.asked) for fake in fakes]


def test_two_of_three_engines_hold_the_adapter_and_one_answers(stocked: tuple[Path, Path]) -> None:
    with several(stocked, 3) as (product, fakes):
        assert sorted(len(fake.adapters) for fake in fakes) == [0, 1, 1]
        replies = [product.chat() for _ in range(6)]
        assert [reply.status_code for reply in replies] == [200] * 6
        assert sorted(asked(fakes)) == [0, 0, 6]
        (busy,) = (fake for fake in fakes if fake.asked)
        assert busy.asked[0]["model"] in busy.adapters
        metrics = product.get("/metrics").text
        assert metrics.count('dslm_engine_ready{engine="127.0.0.1:') == 3
        held = [line for line in metrics.splitlines() if line.startswith("dslm_adapters_reg")]
        assert sorted(line[-3:] for line in held) == ["0.0", "1.0", "1.0"]
        health = product.get("/health").json()
        assert health["engines"] == {"base": {"state": "ready", "engines": 3, "ready": 3}}


@pytest.mark.parametrize(("stream", "trouble"), [(False, "500"), (True, "500"), (True, "cut")])
def test_what_fails_before_its_first_byte_is_answered_by_another(
    stocked: tuple[Path, Path], stream: bool, trouble: str
) -> None:
    with several(stocked, 2) as (product, fakes):
        product.chat()
        (first,) = (fake for fake in fakes if fake.asked)
        (second,) = (fake for fake in fakes if not fake.asked)
        first.fails = [trouble]
        reply = product.chat(stream=stream)
        assert reply.status_code == 200
        assert not stream or reply.text.endswith("data: [DONE]\n\n")
        assert len(second.asked) == 1
        assert second.asked[0]["model"] in second.adapters


def test_an_engine_that_came_back_empty_is_given_its_adapters_before_any_request(
    stocked: tuple[Path, Path],
) -> None:
    with several(stocked, 2) as (product, fakes):
        product.chat()
        (first,) = (fake for fake in fakes if fake.asked)
        units = product.service.engines.units
        first.ill = True
        product.until(lambda: sum(unit.ready for unit in units) == 1)
        assert product.chat().status_code == 200
        first.adapters.clear()
        first.asked.clear()
        first.ill = False
        while not (chats := [one for one in first.asked if "messages" in one]):
            assert product.chat().status_code == 200
        assert chats[0]["model"] in first.adapters
        assert sum(unit.ready for unit in units) == 2


def test_a_swap_reaches_the_engines_that_answer_and_the_old_name_leaves_them(
    stocked: tuple[Path, Path],
) -> None:
    with several(stocked, 2) as (product, fakes):
        old = {name for fake in fakes for name in fake.adapters}
        set_adapter(product, None)
        product.until(lambda: not any(fake.adapters for fake in fakes))
        set_adapter(product, "support-style@1")
        assert all(len(fake.adapters) == 1 for fake in fakes)
        assert not old & {name for fake in fakes for name in fake.adapters}
        assert product.chat().status_code == 200


def test_an_address_where_nobody_answers_keeps_nothing_waiting(stocked: tuple[Path, Path]) -> None:
    fake = FakeEngine()
    with (
        serving(fake.app) as url,
        in_front(*stocked, [f"http://127.0.0.1:{free_port()}", url]) as it,
    ):
        assert it.chat().status_code == 200
        health = it.get("/health").json()
        assert health["engines"]["base"] == {"state": "ready", "engines": 2, "ready": 1}


def test_without_any_engine_one_domain_quotes_and_the_other_says_when_to_come_back(
    stocked: tuple[Path, Path],
) -> None:
    with several(stocked, 2) as (product, fakes):
        for fake in fakes:
            fake.ill = True
        product.until(lambda: not product.service.engines.ready)
        refused = product.chat()
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert product.chat("pantry", "How is flour kept?").json()["dslm"]["mode"] == "quote"


ENGINE = """
import sys, uvicorn
from tests.service.fake_engine import FakeEngine
engine = FakeEngine()
engine.pause = 0.05
uvicorn.run(engine.app, port=int(sys.argv[1]), log_level="critical", interface="asgi3")
"""


@contextmanager
def engine_processes(count: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Fake engines that can really be killed, by their addresses."""
    ports = [free_port() for _ in range(count)]
    started = {
        f"127.0.0.1:{port}": subprocess.Popen([sys.executable, "-c", ENGINE, str(port)], cwd=ROOT)
        for port in ports
    }
    try:
        yield started
    finally:
        for child in started.values():
            child.kill()
            child.wait()


async def streams(url: str, count: int, after: int, then: Any) -> list[str]:
    """So many streams at once; `then` is called when `after` have begun."""
    begun = 0

    async def one(session: aiohttp.ClientSession, number: int) -> str:
        nonlocal begun
        question = f"When do I prune roses? slow {'x ' * 40}{number}"
        body = {
            "model": "garden",
            "messages": [{"role": "user", "content": question}],
            "stream": True,
        }
        text = ""
        async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
            assert reply.status == 200
            async for part in reply.content.iter_any():
                begun += not text
                text += part.decode()
                if begun == after:
                    begun += 1
                    then()
        return text

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(one(session, number) for number in range(count)))


async def test_an_engine_killed_under_32_streams_ends_its_own_aloud_and_no_other(
    stocked: tuple[Path, Path],
) -> None:
    with (
        engine_processes(2) as children,
        in_front(*stocked, [f"http://{address}" for address in children]) as product,
    ):
        units = product.service.engines.units
        product.until(lambda: all(unit.ready for unit in units), 20)
        set_adapter(product, "support-style@1")
        victim = max(units, key=lambda unit: unit.name)
        under_way = 0

        def kill() -> None:
            nonlocal under_way
            under_way = victim.in_flight
            os.kill(children[victim.name].pid, signal.SIGKILL)

        texts = await streams(product.url, 32, 24, kill)
        whole = [text for text in texts if text.endswith("data: [DONE]\n\n")]
        ended = [text for text in texts if "[DONE]" not in text]
        assert len(whole) + len(ended) == 32
        assert all('data: {"error"' in text.splitlines()[-2] for text in ended)
        assert 0 < len(ended) <= under_way
        replies = [await asyncio.to_thread(product.chat) for _ in range(8)]
        assert [reply.status_code for reply in replies] == [200] * 8
        assert all(unit.in_flight == 0 for unit in units)


@pytest.mark.vllm
def test_vllm_elsewhere_is_one_of_a_list(live: LiveService, stocked: tuple[Path, Path]) -> None:
    urls = [f"http://127.0.0.1:{free_port()}", live.engine_url]
    with in_front(*stocked, urls) as product:
        set_adapter(product, "support-style@1")
        reply = product.chat(max_tokens=4)
        assert reply.status_code == 200, reply.text
        assert reply.json()["dslm"]["adapter"] == "support-style@1"
        set_adapter(product, None)
