"""The switch never uses a name twice, never unloads under an answer, never exceeds its places."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.manifest import AdapterManifest, BaseIdentity, TrainedWith
from service.engines.engine import Engine
from service.engines.switch import AdapterSwitch, Registered
from service.errors import EngineRejected, Overloaded, Unavailable
from service.telemetry import Telemetry
from tests.service.fake_engine import FakeEngine, serving


class Shelf:
    """The part of a registry that the switch uses."""

    def __init__(self, folder: Path) -> None:
        self.services = folder / ".services"
        self._folder = folder

    def folder(self, manifest: AdapterManifest) -> Path:
        return self._folder / manifest.digest

    def engine_name(self, manifest: AdapterManifest) -> str:
        return f"{manifest.name}@{manifest.digest[:12]}"


def manifest(digest: str, files: dict[str, str] | None = None) -> AdapterManifest:
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
        files=files or {},
    )


def stored(folder: Path, digest: str) -> AdapterManifest:
    """One with a file on the shelf."""
    (folder / digest).mkdir(exist_ok=True)
    (folder / digest / "weights").write_bytes(b"weights")
    return manifest(digest, {"weights": hashlib.sha256(b"weights").hexdigest()})


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def url(fake: FakeEngine) -> Iterator[str]:
    with serving(fake.app) as address:
        yield address


@asynccontextmanager
async def switching(url: str, folder: Path, places: int = 4) -> AsyncIterator[AdapterSwitch]:
    """A switch of a service of its own, in front of that engine."""
    engine = Engine(url, 5)
    switch = AdapterSwitch(engine, Shelf(folder), places, Telemetry().of_engine("base"))  # type: ignore[arg-type]
    await switch.reconcile()
    try:
        yield switch
    finally:
        await switch.settle()
        await engine.close()


async def settled(fake: FakeEngine, calls: int) -> None:
    async with asyncio.timeout(5):
        while len(fake.calls) < calls:
            await asyncio.sleep(0.005)


def labels(fake: FakeEngine) -> list[str]:
    """What was loaded and unloaded, without what makes each name unlike any other."""
    return [call.partition(".")[0] for call in fake.calls]


async def test_an_adapter_is_unloaded_only_after_its_last_user(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as switch:
        first = await switch.acquire(manifest("a"))
        second = await switch.acquire(manifest("a"))
        assert first is second
        switch.release(first)
        await asyncio.sleep(0.05)
        assert labels(fake) == ["load style@a"]
        switch.release(second)
        await settled(fake, 2)
        assert labels(fake)[-1] == "unload style@a"


async def test_a_name_is_never_used_twice_by_any_service(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as one, switching(url, tmp_path) as other:
        for turn in range(3):
            for number, switch in enumerate((one, other)):
                switch.release(await switch.acquire(manifest("a")))
                await settled(fake, 2 * (2 * turn + number + 1))
    loads = [call for call in fake.calls if call.startswith("load")]
    assert len(set(loads)) == len(loads) == 6


async def test_many_first_users_at_once_load_it_once(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as switch:
        entries = await asyncio.gather(*(switch.acquire(manifest("a")) for _ in range(20)))
    assert labels(fake) == ["load style@a"]
    assert entries[0].users == 20


async def test_with_an_answer_in_every_place_a_further_adapter_is_refused_until_one_ends(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path, places=2) as switch:
        for digest in "ab":
            entry = await switch.acquire(manifest(digest))
            await switch.hold(entry)
        with pytest.raises(Overloaded, match="DSLM_MAX_CPU_LORAS") as refused:
            await switch.acquire(manifest("c"))
        assert refused.value.retry_after
        assert len(fake.adapters) == 2
        switch.let_go(entry)
        await switch.acquire(manifest("c"))
        assert sorted(name[:7] for name in fake.adapters) == ["style@a", "style@c"]


async def test_an_idle_adapter_gives_up_its_place_and_takes_one_again_for_its_next_answer(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path, places=2) as switch:
        a, b, c = [await switch.acquire(manifest(digest)) for digest in "abc"]
        with pytest.raises(Unavailable, match="does not hold"):
            a.engine_name()
        for entry in (a, c, b, a, b, c):
            await switch.hold(entry)
            assert entry.engine_name() in fake.adapters
            assert len(fake.adapters) == 2
            switch.let_go(entry)
    loads = [call for call in fake.calls if call.startswith("load")]
    assert len(set(loads)) == len(loads)


async def test_an_answer_that_finds_no_place_says_so_and_leaves_the_others_theirs(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path, places=1) as switch:
        a = await switch.acquire(manifest("a"))
        b = await switch.acquire(manifest("b"))
        await switch.hold(b)
        await switch.hold(a)
        with pytest.raises(Unavailable, match="does not hold") as refused:
            a.engine_name()
        assert refused.value.retry_after
        assert [*fake.adapters] == [b.engine_name()]


async def test_a_refused_adapter_leaves_nothing_behind(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path, places=1) as switch:
        with pytest.raises(EngineRejected):
            await switch.acquire(manifest("missing"))
        assert switch.users() == {}
        await switch.acquire(manifest("a"))


async def test_an_adapter_refused_by_a_new_engine_does_not_keep_the_others_out(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as switch:
        switch.engine_ended()
        bad = await switch.acquire(manifest("missing"))
        good = await switch.acquire(manifest("a"))
        await switch.reconcile()
        assert set(fake.adapters) == {good.engine_name()}
        with pytest.raises(Unavailable, match="refused"):
            bad.engine_name()


async def test_an_engine_that_only_seemed_dead_keeps_the_names_it_knows(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as switch:
        entry = await switch.acquire(manifest("a"))
        switch.engine_ended()
        await switch.reconcile()
        assert fake.calls == [f"load {entry.engine_name()}"]


async def test_after_the_engines_end_its_adapters_are_loaded_into_the_next(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as switch:
        old = await switch.acquire(manifest("a"))
        switch.engine_ended()
        fake.adapters.clear()
        new = await switch.acquire(manifest("b"))
        assert fake.adapters == {}
        await switch.reconcile()
        assert set(fake.adapters) == {old.engine_name(), new.engine_name()}


async def test_a_new_engine_takes_no_more_adapters_than_it_has_places(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path, places=2) as switch:
        switch.engine_ended()
        entries = [await switch.acquire(manifest(digest)) for digest in "abc"]
        await switch.reconcile()
        assert len(fake.adapters) == 2
        await switch.hold(entries[0])
        assert entries[0].engine_name() in fake.adapters
        assert len(fake.adapters) == 2


async def damaged(switch: AdapterSwitch, entry: Registered, file: Path) -> None:
    with pytest.raises(Unavailable, match=f"style@1 cannot be served: {file.name}"):
        entry.engine_name()
    with pytest.raises(Unavailable, match=file.name):
        await switch.acquire(manifest("b", entry.manifest.files))


@pytest.mark.parametrize("content", [None, b"others!"])
async def test_files_that_are_gone_or_replaced_are_noticed_before_the_engine_reads_them(
    fake: FakeEngine, url: str, tmp_path: Path, content: bytes | None
) -> None:
    async with switching(url, tmp_path) as switch:
        entry = await switch.acquire(stored(tmp_path, "a"))
        assert entry.engine_name()
        stored(tmp_path, "b")
        for digest in "ab":
            file = tmp_path / digest / "weights"
            file.unlink()
            if content:
                file.write_bytes(content)
        await damaged(switch, entry, file)
        fake.adapters.clear()
        switch.engine_ended()
        await switch.reconcile()
        assert fake.adapters == {}
        with pytest.raises(Unavailable, match="refused"):
            entry.engine_name()


async def test_services_of_one_engine_share_its_places_and_unload_only_their_own(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path, 2) as one, switching(url, tmp_path, 2) as other:
        mine = await one.acquire(manifest("a"))
        theirs = await other.acquire(manifest("a"))
        assert set(fake.adapters) == {mine.name, theirs.name}
        await other.hold(theirs)
        with pytest.raises(Overloaded):
            await other.acquire(manifest("b"))
        one.release(mine)
        await settled(fake, 3)
        assert set(fake.adapters) == {theirs.name}
        await other.acquire(manifest("b"))


async def test_what_a_dead_service_left_in_the_engine_is_cleared_away(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    """A service holds its file's lock while it lives; one of another store is not judged."""
    fake.adapters["style@a.0000dead-1"] = "/a"
    fake.adapters["style@a.00stranger-1"] = "/a"
    (tmp_path / ".services").mkdir()
    (tmp_path / ".services" / "0000dead").touch()
    async with switching(url, tmp_path, places=2) as switch:
        entry = await switch.acquire(manifest("b"))
        assert set(fake.adapters) == {"style@a.00stranger-1", entry.name}
        switch.release(entry)
    assert [file.name for file in (tmp_path / ".services").iterdir()] == ["0000dead"]


async def test_a_load_whose_answer_never_came_is_undone(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with switching(url, tmp_path) as switch:
        kept = await switch.acquire(manifest("a"))
        fake.adapters[kept.name.replace("-1", "-99")] = "/lost"
        await switch.acquire(manifest("b"))
    assert len(fake.adapters) == 2
