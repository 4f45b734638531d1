"""An adapter that does nothing, or not what it was trained to, never answers anybody."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.fingerprint import Fingerprint
from adapters.manifest import AdapterManifest, to_json
from service.engines.engine import Engine
from service.engines.probe import Probe
from service.engines.switch import AdapterSwitch
from service.errors import AdapterUnfit, Unavailable, status_of
from service.telemetry import Telemetry
from tests.service.fake_engine import FakeEngine, serving
from tests.service.test_switch import Shelf, labels, manifest

KNOWN = Fingerprint(
    tokens=(7, 8),
    prompts=((1, 2, 3), (4, 5)),
    base=((-1.0, -2.0), (-3.0, -1.0)),
    adapter=((-1.5, -1.0), (-2.0, -1.5)),
)


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def url(fake: FakeEngine) -> Iterator[str]:
    with serving(fake.app) as address:
        yield address


@asynccontextmanager
async def probing(url: str, folder: Path, seconds: float = 5) -> AsyncIterator[AdapterSwitch]:
    """A switch with a probe, in front of that engine."""
    engine, meters = Engine(url, 5), Telemetry().of_engine("base")
    probe = Probe(engine, meters, seconds)
    switch = AdapterSwitch(engine, Shelf(folder), 4, meters, probe)  # type: ignore[arg-type]
    await switch.reconcile()
    try:
        yield switch
    finally:
        await switch.settle()
        await engine.close()


def fingerprinted(folder: Path, digest: str) -> AdapterManifest:
    """One whose folder the fake engine can read."""
    made = manifest(digest).model_copy(update={"fingerprint": KNOWN})
    (folder / digest).mkdir()
    (folder / digest / "manifest.json").write_bytes(to_json(made))
    return made


@pytest.mark.parametrize("moves", [0.0, 0.0009, -0.09])
async def test_an_adapter_that_makes_no_difference_is_unloaded_and_refused(
    fake: FakeEngine, url: str, tmp_path: Path, moves: float
) -> None:
    fake.moves["style@a"] = moves
    async with probing(url, tmp_path) as switch:
        with pytest.raises(AdapterUnfit, match=r"style@1 is not served: it makes no diff") as found:
            await switch.acquire(manifest("a"))
        assert status_of(found.value) == 400
        assert fake.adapters == {}
        assert switch.users() == {}
        good = await switch.acquire(manifest("b"))
        assert [*fake.adapters] == [good.engine_name()]


@pytest.mark.parametrize("moves", [0.0, 0.4, -1.0])
async def test_an_adapter_that_is_applied_otherwise_than_trained_is_refused(
    fake: FakeEngine, url: str, tmp_path: Path, moves: float
) -> None:
    async with probing(url, tmp_path) as switch:
        right = await switch.acquire(fingerprinted(tmp_path, "a"))
        fake.moves["style@b"] = moves
        with pytest.raises(AdapterUnfit, match="as it was trained" if moves else "no difference"):
            await switch.acquire(fingerprinted(tmp_path, "b"))
        assert [*fake.adapters] == [right.engine_name()]


async def test_a_version_is_probed_once_in_each_life_of_an_engine(
    fake: FakeEngine, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dslm.probe")
    async with probing(url, tmp_path) as switch:
        for _ in range(3):
            entry = await switch.acquire(manifest("a"))
            switch.release(entry)
            await switch.settle()
        assert len(fake.probed) == 2
        assert [line.partition(" in ")[0] for line in caplog.messages] == ["style@1 probed"]
        await switch.acquire(manifest("a"))
        switch.engine_ended()
        fake.adapters.clear()
        await switch.reconcile()
        assert len(fake.probed) == 4


async def test_one_that_no_longer_passes_after_a_restart_leaves_the_others_alone(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with probing(url, tmp_path) as switch:
        bad, good = [await switch.acquire(manifest(digest)) for digest in "ab"]
        switch.engine_ended()
        fake.adapters.clear()
        fake.moves["style@a"] = 0.0
        await switch.reconcile()
        assert [*fake.adapters] == [good.engine_name()]
        with pytest.raises(Unavailable, match=r"refused: .* no difference"):
            bad.engine_name()
        await switch.hold(bad)
        assert labels(fake).count("load style@a") == 2


async def test_one_that_does_not_pass_when_an_answer_needs_it_is_not_tried_at_each_answer(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with probing(url, tmp_path) as switch:
        switch.engine_ended()
        entries = [await switch.acquire(manifest(digest)) for digest in "abcde"]
        await switch.reconcile()
        fake.moves["style@a"] = 0.0  # the fifth of four places: loaded when it must answer
        for _ in range(3):
            await switch.hold(entries[0])
            with pytest.raises(Unavailable, match=r"refused: .* no difference"):
                entries[0].engine_name()
        assert labels(fake).count("load style@a") == 1


async def test_an_engine_that_does_not_answer_in_time_says_nothing_about_the_adapter(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with probing(url, tmp_path, seconds=0.05) as switch:
        fake.mute = True
        with pytest.raises(Unavailable, match="did not answer about style@1"):
            await switch.acquire(manifest("a"))
        fake.mute = False
    async with probing(url, tmp_path) as switch:
        entry = await switch.acquire(manifest("a"))
        assert entry.engine_name() in fake.adapters


async def test_what_was_not_judged_is_cleared_away_by_the_next_load(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    async with probing(url, tmp_path, seconds=0.05) as switch:
        fake.mute = True
        with pytest.raises(Unavailable):
            await switch.acquire(manifest("a"))
        assert [name[:7] for name in fake.adapters] == ["style@a"]
        with pytest.raises(Unavailable):
            await switch.acquire(manifest("b"))
        assert [name[:7] for name in fake.adapters] == ["style@b"]
        fake.mute = False


async def test_an_engine_that_tells_no_log_probabilities_is_named_as_the_reason(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    fake.tells = False
    async with probing(url, tmp_path) as switch:
        with pytest.raises(AdapterUnfit, match="DSLM_PROBE_ADAPTERS"):
            await switch.acquire(manifest("a"))


async def test_values_that_are_not_finite_are_a_reason(
    fake: FakeEngine, url: str, tmp_path: Path
) -> None:
    """vLLM answers 400 where an adapter makes its numbers overflow."""
    fake.moves["style@a"] = float("inf")
    async with probing(url, tmp_path) as switch:
        with pytest.raises(AdapterUnfit, match="Out of range"):
            await switch.acquire(manifest("a"))
        assert fake.adapters == {}
