"""The supervisor restarts an engine after any end, reconciles first, and gives up on a loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import service.engines.supervisor as module
import service.engines.watch as watching
from service.engines.engine import Health
from service.engines.pulse import Pulse
from service.engines.supervisor import EngineSupervisor
from service.engines.watch import Patience
from service.errors import ServiceError, Unavailable
from service.telemetry import Telemetry

PATIENT = Patience(stalled=0.2)


class Patient:
    """An engine whose health the test sets; answers are under way while `pulse` is begun."""

    def __init__(self) -> None:
        self.url = "http://nowhere"
        self.well: Health = "well"
        self.steps: bytes | None = b"0"
        self.mute = False
        self.asked = 0
        self.interrupted = 0
        self.pulse = Pulse()

    async def health(self) -> Health:
        return self.well

    async def healthy(self) -> bool:
        return self.well == "well"

    def interrupt(self, error: ServiceError) -> None:
        self.interrupted += 1

    async def progress(self) -> bytes | None:
        return self.steps

    async def speaks(self, seconds: float) -> bool:
        self.asked += 1
        with self.pulse.asking():
            if self.mute:
                await asyncio.sleep(seconds)
        return not self.mute


class Ward:
    """A host that counts starts and dies when told to; an engine of ours answers once started."""

    def __init__(self, engine: Patient, *, is_ours: bool = True) -> None:
        self.engine = engine
        self.is_ours = is_ours
        self.starts = 0
        self.stops = 0
        self.refuses = 0
        self.deaf = False
        self.dies = asyncio.Event()
        if is_ours:
            engine.well = "silent"

    async def start(self) -> None:
        if self.refuses:
            self.refuses -= 1
            raise BlockingIOError("no more processes")
        self.starts += 1
        self.dies = asyncio.Event()
        if self.is_ours and not self.deaf:
            self.engine.well = "well"

    async def exited(self) -> int:
        await self.dies.wait()
        return 0

    async def stop(self, grace: float) -> None:
        self.stops += 1
        if self.is_ours:
            self.engine.well, self.engine.mute = "silent", False
            while self.engine.pulse.under_way:
                self.engine.pulse.end()

    def last_words(self) -> str:
        return "last words"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", (0.01,))
    monkeypatch.setattr(module, "PROBE_EVERY", 0.02)
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.02)
    monkeypatch.setattr(watching, "PROBE_AGAIN", 0.001)
    monkeypatch.setattr(module, "VACATE_SECONDS", 0.1)


class Case:
    """A supervisor with everything around it in view."""

    def __init__(self, crash_limit: int = 5, *, is_ours: bool = True) -> None:
        self.engine = Patient()
        self.host = Ward(self.engine, is_ours=is_ours)
        self.reconciled = 0
        self.ended = 0
        self.supervisor = EngineSupervisor(
            self.engine,  # type: ignore[arg-type]
            self.host,
            self._reconcile,
            self._end,
            Telemetry().of_engine("base"),
            start_seconds=0.3,
            crash_limit=crash_limit,
            patience=PATIENT,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[EngineSupervisor]:
        """Supervised for the block, from the moment that it is ready."""
        task = asyncio.create_task(self.supervisor.run())
        try:
            await self.reach("ready")
            yield self.supervisor
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _reconcile(self) -> None:
        assert self.supervisor.state != "ready"
        self.reconciled += 1

    def _end(self) -> None:
        self.ended += 1

    async def leave(self, state: str) -> None:
        async with asyncio.timeout(5):
            while self.supervisor.state == state:
                await self.supervisor.changed.wait()

    async def reach(self, state: str) -> None:
        async with asyncio.timeout(5):
            while self.supervisor.state != state:
                await self.supervisor.changed.wait()


async def test_an_engine_that_exits_with_0_is_restarted_and_reconciled_before_it_is_ready() -> None:
    case = Case()
    async with case.running() as supervisor:
        case.host.dies.set()
        await case.reach("down")
        with pytest.raises(Unavailable) as refused:
            supervisor.require_ready()
        assert refused.value.retry_after
        assert case.engine.asked == 0
        await case.reach("ready")
        assert (case.host.starts, case.reconciled, case.ended) == (2, 2, 1)
        assert case.engine.asked == 1, "a user is the first to wait for a cold engine"
    assert supervisor.state == "stopped"
    assert case.host.stops == 2


@pytest.mark.parametrize("health", ["ill", "silent"])
async def test_an_engine_that_is_ill_or_does_not_answer_is_replaced(health: Health) -> None:
    case = Case()
    async with case.running():
        case.engine.well = health
        await case.reach("down")
        await case.reach("ready")
        assert case.host.starts == 2


async def test_a_core_that_hangs_behind_a_well_server_is_replaced_and_must_speak_first() -> None:
    case = Case()
    async with case.running():
        case.engine.pulse.begin()
        await case.reach("down")
        assert case.engine.asked == 0
        await case.reach("ready")
        assert (case.host.starts, case.engine.asked, case.engine.interrupted) == (2, 1, 1)


async def test_clients_that_give_up_one_after_another_do_not_hide_a_hanging_core() -> None:
    case = Case()
    async with case.running(), asyncio.timeout(5):
        while case.host.starts == 1:
            case.engine.pulse.begin()
            await asyncio.sleep(0.03)
            if case.engine.pulse.under_way:
                case.engine.pulse.end()
            await asyncio.sleep(0.01)


async def test_a_long_answer_is_left_to_an_engine_that_counts_its_steps() -> None:
    case = Case()
    async with case.running():
        case.engine.pulse.begin()
        for step in range(30):
            case.engine.steps = b"%d" % step
            await asyncio.sleep(0.02)
        assert case.supervisor.ready
        await case.reach("down")  # now that it does not


async def test_an_engine_without_counts_is_asked_for_a_token_before_it_is_ended() -> None:
    case = Case()
    case.engine.steps = None
    async with case.running():
        case.engine.pulse.begin()
        await asyncio.sleep(0.3)
        assert case.supervisor.ready
        assert case.engine.asked
        case.engine.mute = True
        await case.reach("down")


async def test_an_idle_engine_is_asked_for_a_token_now_and_then() -> None:
    engine = Patient()
    watch = watching.Watch(engine, Patience(stalled=0.2, idle=0.05))  # type: ignore[arg-type]
    over = asyncio.create_task(watch.until_over(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0.3)
    assert 2 <= engine.asked < 10
    engine.mute = True
    assert "no token" in await asyncio.wait_for(over, 5)


async def test_a_request_that_failed_has_its_engine_looked_at_before_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "PROBE_EVERY", 60.0)
    case = Case()
    async with case.running() as supervisor:
        await supervisor.look()
        assert supervisor.ready
        health: Health
        for health in ("silent", "ill"):
            case.engine.well = health
            await supervisor.look()
            assert not supervisor.ready
            await supervisor.look()
            await case.reach("ready")


async def test_an_engine_that_never_comes_up_is_given_up_after_two_tries() -> None:
    case = Case()
    case.host.deaf = True
    await asyncio.wait_for(case.supervisor.run(), 5)
    assert case.supervisor.state == "failed"
    assert case.host.starts == 2


async def test_a_crash_loop_ends_at_its_limit() -> None:
    case = Case(crash_limit=3)
    task = asyncio.create_task(case.supervisor.run())
    for _ in range(3):
        await case.reach("ready")
        case.host.dies.set()
        await case.leave("ready")
    await asyncio.wait_for(task, 5)
    assert case.supervisor.state == "failed"
    assert case.host.starts == 3


async def test_an_engine_of_somebody_else_is_waited_for_however_often_it_goes() -> None:
    case = Case(crash_limit=2, is_ours=False)
    async with case.running():
        for _ in range(4):
            case.engine.well = "silent"
            await case.leave("ready")
            case.engine.well = "well"
            await case.reach("ready")


async def test_a_start_that_fails_for_want_of_memory_is_tried_again() -> None:
    case = Case()
    case.host.refuses = 1
    async with case.running():
        assert case.host.starts == 1


async def test_an_engine_is_not_started_where_something_else_answers() -> None:
    case = Case()
    case.engine.well = "well"
    task = asyncio.create_task(case.supervisor.run())
    await asyncio.sleep(0.05)
    assert case.host.starts == 0
    case.engine.well = "silent"
    await case.reach("ready")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_reconciling_that_fails_in_any_way_is_tried_again() -> None:
    case = Case()
    reconcile, tries = case._reconcile, 0

    async def fails_once() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise KeyError("data")
        await reconcile()

    case.supervisor._on_ready = fails_once
    async with case.running():
        assert (tries, case.reconciled) == (2, 1)
