"""Admission: bounded whatever happens, fair among domains and keys, every place given back."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import BadInput
from service.api.limits import TURN_SECONDS, Wish
from service.api.places import expected_tokens, limits_of
from service.errors import Overloaded, Stopping
from service.settings import ServiceSettings
from tests.service.product import Product
from tests.service.simulation import ROOMY, Simulation, admission, p99, settle

Leave = Callable[[], None]


class Crowd:
    """Clients in every state, and what must hold of them."""

    def __init__(self, **changes: Any) -> None:
        limits = {
            "answers": 4,
            "per_domain": 3,
            "queued": 3,
            "adapters": 2,
            "tokens": 80,
            **changes,
        }
        self.limits = dataclasses.replace(ROOMY, **limits)
        self.admission = admission(**limits)
        self.tasks: list[asyncio.Task[tuple[Wish, Leave] | None]] = []
        self.inside: list[tuple[Wish, Leave]] = []

    async def arrive(self, number: int) -> None:
        domain = "abc"[number % 3]
        adapter = None if number % 4 == 0 else domain
        wish = Wish(domain, f"key{number % 2}", adapter, number % 5 * 25)
        self.tasks.append(asyncio.create_task(self._ask(wish)))
        await settle()

    async def _ask(self, wish: Wish) -> tuple[Wish, Leave] | None:
        try:
            permit = self.admission.permit(wish.domain, wish.key, wish.adapter, wish.tokens)
            return wish, await permit
        except Overloaded:
            return None

    async def collect(self) -> None:
        """Who has got a place is inside; who was refused is gone."""
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled() and (got := task.result()):
                self.inside.append(got)

    async def leave(self, number: int) -> None:
        if self.inside:
            self.inside.pop(number % len(self.inside))[1]()
        await settle()

    async def give_up(self, number: int, *, at_the_same_moment: bool) -> None:
        """Cancel one who waits; also just when its place comes free."""
        if at_the_same_moment and self.inside:
            self.inside.pop(number % len(self.inside))[1]()
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()
        await settle()

    def check(self) -> None:
        limits = self.limits
        domains = Counter(wish.domain for wish, _ in self.inside)
        adapters = {wish.adapter for wish, _ in self.inside if wish.adapter}
        tokens = [wish.tokens for wish, _ in self.inside]
        assert sum(tokens) <= limits.tokens or len(set(tokens) - {0}) == 1
        assert self.admission.in_flight == len(self.inside) <= limits.answers
        assert all(count <= limits.per_domain for count in domains.values())
        assert len(adapters) <= limits.adapters
        assert self.admission.waiting == len(self.tasks) <= 3 * limits.queued


STEP = st.tuples(st.sampled_from(["arrive", "arrive", "leave", "cancel", "race"]), st.integers(0))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_whatever_happens_bounds_hold_and_every_place_comes_back(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        crowd = Crowd()
        for kind, number in steps:
            if kind == "arrive":
                await crowd.arrive(number)
            elif kind == "leave":
                await crowd.leave(number)
            else:
                await crowd.give_up(number, at_the_same_moment=kind == "race")
            await crowd.collect()
            crowd.check()
        while crowd.inside or crowd.tasks:
            assert crowd.inside, "somebody waits although nobody is inside"
            await crowd.leave(0)
            await crowd.collect()
        assert (crowd.admission.in_flight, crowd.admission.waiting) == (0, 0)

    asyncio.run(run())


async def test_a_full_queue_is_refused_with_the_time_to_wait() -> None:
    desk = admission(answers=1, queued=1)
    leave = await desk.permit("a", "", None)
    waiting = asyncio.create_task(desk.permit("a", "", None))
    await settle()
    with pytest.raises(Overloaded) as refused:
        await desk.permit("a", "", None)
    assert refused.value.retry_after
    leave()
    (await waiting)()
    assert desk.in_flight == 0


async def test_who_has_waited_too_long_is_told_so_and_keeps_nothing() -> None:
    desk = admission(answers=1, seconds=0.02)
    leave = await desk.permit("a", "", None)
    with pytest.raises(Overloaded, match="within"):
        await desk.permit("a", "", None)
    assert desk.waiting == 0
    leave()
    assert desk.in_flight == 0


async def test_places_go_to_the_domain_with_the_least_for_its_share_then_to_the_key() -> None:
    desk = admission(answers=6, per_domain=6, shares={"a": 2.0})
    held = [await desk.permit("x", "", None) for _ in range(6)]
    got: list[str] = []

    async def ask(domain: str, key: str) -> None:
        await desk.permit(domain, key, None)
        got.append(domain + key)

    asked = [("a", "1")] * 6 + [("a", "2")] * 2 + [("b", "1")] * 6
    tasks = [asyncio.create_task(ask(*one)) for one in asked]
    await settle()
    for leave in held:
        leave()
        await settle()
    assert Counter(one[0] for one in got) == {"a": 4, "b": 2}
    assert Counter(got)["a1"] == Counter(got)["a2"] == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_tokens_in_flight_are_bounded_and_those_of_one_domain_to_three_quarters() -> None:
    desk = admission(tokens=100)
    first = desk.at_once("a", "", None, 50)
    assert first is not None
    assert desk.at_once("a", "", None, 30) is None  # 80 of the 75 that one domain may have
    second = desk.at_once("b", "", None, 40)
    assert second is not None
    assert desk.at_once("c", "", None, 20) is None  # 110 of 100
    first()
    second()
    giant = desk.at_once("a", "", None, 1000)
    assert giant is not None, "what is beyond all bounds has the engine for itself"
    assert desk.at_once("b", "", None, 1) is None


async def test_one_who_needs_many_tokens_does_not_starve_among_many_who_need_few() -> None:
    now = 0.0
    desk = admission(lambda: now, tokens=100)
    small = [desk.at_once("b", "", None, 35), desk.at_once("b", "", None, 35)]
    large = asyncio.create_task(desk.permit("a", "", None, 70))
    await settle()
    assert desk.at_once("c", "", None, 10), "nobody has waited long yet"
    now = 2 * TURN_SECONDS
    assert desk.at_once("c", "", None, 10) is None, "room is kept for the one who waits"
    for leave in small:
        assert leave is not None
        leave()
    await settle()
    assert large.done()
    assert expected_tokens(400, 50, 2) == 200


async def test_a_closed_admission_sends_those_who_wait_and_those_who_come_away() -> None:
    desk = admission(answers=1)
    leave = await desk.permit("a", "", None)
    waiting = asyncio.create_task(desk.permit("a", "", None))
    await settle()
    desk.close(Stopping())
    with pytest.raises(Stopping):
        await waiting
    with pytest.raises(Stopping):
        await desk.permit("b", "", None)
    assert (desk.in_flight, desk.waiting) == (1, 0)
    leave()
    assert desk.in_flight == 0


async def test_the_bound_of_a_domain_is_what_keeps_room_for_the_others() -> None:
    """The same flood, were one domain allowed all places: the quiet one waits for an ending."""
    case = Simulation(answers=4, per_domain=4, queued=64)
    for _ in range(64):
        case.ask("loud", again=True)
    for number in range(20):
        case.at(0.25 + number, lambda: case.ask("quiet"))
    await case.run(until=60)
    assert p99(case.took["quiet"]) > 1.5


async def test_no_more_adapters_are_active_than_the_engine_batches_and_each_has_its_turn() -> None:
    case = Simulation(answers=12, per_domain=4, adapters=2)
    for domain in ("a", "b", "c"):
        for number in range(6):
            case.at(number / 6, lambda d=domain: case.ask(d, d, again=True))  # type: ignore[misc]
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(case.desk._adapters))

    for number in range(300):
        case.at(number / 5, look)
    await case.run(until=60)
    assert most == 2
    counts = {domain: len(took) for domain, took in case.took.items()}
    assert min(counts.values()) > 0.3 * max(counts.values()), counts
    assert p99(case.took["c"]) < 8 * TURN_SECONDS


@pytest.mark.parametrize("shares", ["legal", "legal=x", "legal=0", "legal=-1", "legal=inf"])
def test_a_share_that_is_none_is_refused(shares: str) -> None:
    with pytest.raises(BadInput, match="DSLM_SHARES"):
        limits_of(ServiceSettings(shares=shares))


def test_one_domain_has_three_quarters_of_the_places_unless_told_otherwise() -> None:
    assert limits_of(ServiceSettings(max_concurrent=8)).per_domain == 6
    assert limits_of(ServiceSettings(max_concurrent=1)).per_domain == 1
    assert limits_of(ServiceSettings(max_concurrent=8, max_concurrent_domain=2)).per_domain == 2
    assert limits_of(ServiceSettings(shares="legal=3 support=0.5")).shares["support"] == 0.5


def test_the_metrics_tell_who_is_answered_and_who_waits(product: Product) -> None:
    text = product.get("/metrics").text
    assert "dslm_in_flight 0.0" in text
    assert "dslm_queued 0.0" in text
