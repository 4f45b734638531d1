"""The supervisor restarts an engine after any end, reconciles first, and gives up on a loop."""

import asyncio

import pytest

import service.engines.supervisor as module
from service.engines.supervisor import EngineSupervisor
from service.errors import Unavailable
from service.telemetry import Telemetry


class Patient:
    """An engine whose health the test sets."""

    well = True

    async def healthy(self) -> bool:
        return self.well


class Ward:
    """A host that counts starts and dies when told to."""

    def __init__(self) -> None:
        self.starts = 0
        self.stops = 0
        self.dies = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        self.dies = asyncio.Event()

    async def exited(self) -> int:
        await self.dies.wait()
        return 0

    async def stop(self, grace: float) -> None:
        self.stops += 1

    def last_words(self) -> str:
        return "last words"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", (0.01,))
    monkeypatch.setattr(module, "PROBE_EVERY", 0.02)


class Case:
    """A supervisor with everything around it in view."""

    def __init__(self, crash_limit: int = 5) -> None:
        self.engine = Patient()
        self.host = Ward()
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
        )

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
    task = asyncio.create_task(case.supervisor.run())
    await case.reach("ready")
    case.host.dies.set()
    await case.reach("down")
    with pytest.raises(Unavailable) as refused:
        case.supervisor.require_ready()
    assert refused.value.retry_after
    await case.reach("ready")
    assert (case.host.starts, case.reconciled, case.ended) == (2, 2, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert case.supervisor.state == "stopped"
    assert case.host.stops == 2


async def test_an_engine_that_hangs_with_its_port_open_is_restarted() -> None:
    case = Case()
    task = asyncio.create_task(case.supervisor.run())
    await case.reach("ready")
    case.engine.well = False
    await case.reach("down")
    case.engine.well = True
    await case.reach("ready")
    assert case.host.starts == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_that_never_comes_up_is_given_up_after_two_tries() -> None:
    case = Case()
    case.engine.well = False
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
