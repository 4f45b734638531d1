"""Which engine answers: affinity that stays, overflow, and failover that no client notices."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.engines.bases import ServedBase
from service.engines.entries import EngineEntry
from service.engines.fleet import Engines
from service.engines.pool import EASY, EnginePool, Unit, ranked
from service.engines.switch import Registered
from service.errors import EngineRejected, Overloaded, Unavailable
from service.telemetry import Telemetry
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
