"""The switch never uses a name twice, never unloads under an answer, never exceeds its places."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.manifest import AdapterManifest, BaseIdentity, TrainedWith
from service.engines.engine import Engine
from service.engines.switch import AdapterSwitch
from service.errors import EngineRejected, Overloaded, Unavailable
from service.telemetry import Telemetry
from tests.service.fake_engine import FakeEngine, serving

METERS = Telemetry().of_engine("base")


class Shelf:
    """The part of a registry that the switch uses."""

    def folder(self, manifest: AdapterManifest) -> Path:
        return Path("/adapters") / manifest.digest

    def engine_name(self, manifest: AdapterManifest) -> str:
        return f"{manifest.name}@{manifest.digest[:12]}"


def manifest(digest: str) -> AdapterManifest:
    return AdapterManifest(
        digest=digest,
        name="style",
        version=1,
        base=BaseIdentity(name="demo", digest="0"),
        rank=8,
        alpha=16,
        target_modules=("q_proj",),
        prompt_format="sentences",
        trained_with=TrainedWith(),
        dataset_digest="",
        created=datetime.now(UTC),
        files={},
    )


class Case:
    """A switch in front of a fake engine."""

    def __init__(self, url: str, capacity: int) -> None:
        self.engine = Engine(url, 5)
        self.switch = AdapterSwitch(self.engine, Shelf(), capacity, METERS)  # type: ignore[arg-type]

    async def __aenter__(self) -> AdapterSwitch:
        await self.switch.reconcile()
        return self.switch

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()


async def settled(fake: FakeEngine, calls: int) -> None:
    async with asyncio.timeout(5):
        while len(fake.calls) < calls:
            await asyncio.sleep(0.005)


async def test_an_adapter_is_unloaded_only_after_its_last_user() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 4) as switch:
            first = await switch.acquire(manifest("a"))
            second = await switch.acquire(manifest("a"))
            assert first is second
            switch.release(first)
            await asyncio.sleep(0.05)
            assert fake.calls == ["load style@a"]
            switch.release(second)
            await settled(fake, 2)
            assert fake.calls[-1] == "unload style@a"


async def test_an_adapter_loaded_again_takes_a_name_that_was_never_used() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 4) as switch:
            for turn in range(3):
                switch.release(await switch.acquire(manifest("a")))
                await settled(fake, 2 * (turn + 1))
    loads = [call for call in fake.calls if call.startswith("load")]
    assert len(set(loads)) == 3


async def test_many_first_users_at_once_load_it_once() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 4) as switch:
            entries = await asyncio.gather(*(switch.acquire(manifest("a")) for _ in range(20)))
    assert fake.calls == ["load style@a"]
    assert entries[0].users == 20


async def test_registered_adapters_never_exceed_the_places_and_places_come_free_again() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 2) as switch:
            first = await switch.acquire(manifest("a"))
            await switch.acquire(manifest("b"))
            with pytest.raises(Overloaded):
                await switch.acquire(manifest("c"))
            switch.release(first)
            await settled(fake, 3)
            await switch.acquire(manifest("c"))
    assert len(fake.adapters) == 2


async def test_a_refused_adapter_leaves_nothing_behind() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 1) as switch:
            with pytest.raises(EngineRejected):
                await switch.acquire(manifest("missing"))
            assert switch.users() == {}
            await switch.acquire(manifest("a"))


async def test_an_adapter_refused_by_a_new_engine_does_not_keep_the_others_out() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 4) as switch:
            switch.engine_ended()
            bad = await switch.acquire(manifest("missing"))
            good = await switch.acquire(manifest("a"))
            await switch.reconcile()
            assert set(fake.adapters) == {good.engine_name()}
            with pytest.raises(Unavailable, match="refused"):
                bad.engine_name()


async def test_an_engine_that_only_seemed_dead_keeps_the_names_it_knows() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 4) as switch:
            entry = await switch.acquire(manifest("a"))
            switch.engine_ended()
            await switch.reconcile()
            assert fake.calls == [f"load {entry.engine_name()}"]


async def test_after_the_engines_end_its_adapters_are_loaded_into_the_next() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        async with Case(url, 4) as switch:
            old = await switch.acquire(manifest("a"))
            switch.engine_ended()
            fake.adapters.clear()
            new = await switch.acquire(manifest("b"))
            assert fake.adapters == {}
            await switch.reconcile()
            assert set(fake.adapters) == {old.name, new.name}
