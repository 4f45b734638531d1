"""What the service relies on in vLLM's server; the fake is held to the very same."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from service.engines.engine import Engine
from service.errors import EngineRejected, Unavailable
from tests.live import LiveService
from tests.service.fake_engine import FakeEngine, serving

QUESTION = {"messages": [{"role": "user", "content": "What is it?"}], "max_tokens": 8}


@pytest.fixture(params=["fake", pytest.param("vllm", marks=pytest.mark.vllm)])
def engine_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "fake":
        with serving(FakeEngine().app) as url:
            yield url
    else:
        live: LiveService = request.getfixturevalue("live")
        yield live.engine_url


@pytest.fixture
async def engine(engine_url: str) -> AsyncIterator[Engine]:
    engine = Engine(engine_url, 60)
    yield engine
    await engine.close()


@pytest.fixture
def folder() -> Path:
    return Path(__file__).parents[2] / "deploy" / "demo" / "adapters" / "support-style-v1"


async def test_a_running_engine_is_healthy(engine: Engine) -> None:
    assert await engine.healthy()


async def test_an_adapter_is_registered_serves_and_is_gone_after_unloading(
    engine: Engine, folder: Path
) -> None:
    await engine.load_adapter("contract@1", folder)
    assert "contract@1" in await engine.registered()
    answer = await engine.chat({"model": "contract@1", **QUESTION})
    assert answer["model"] == "contract@1"
    assert answer["choices"][0]["message"]["content"]
    await engine.unload_adapter("contract@1")
    assert "contract@1" not in await engine.registered()


async def test_a_name_that_is_taken_is_refused(engine: Engine, folder: Path) -> None:
    await engine.load_adapter("contract@2", folder)
    with pytest.raises(EngineRejected, match="already"):
        await engine.load_adapter("contract@2", folder)
    await engine.unload_adapter("contract@2")


async def test_an_adapter_without_files_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineRejected):
        await engine.load_adapter("contract@3", Path("/missing"))


async def test_an_unknown_model_is_refused_before_a_stream_begins(engine: Engine) -> None:
    with pytest.raises(EngineRejected) as refused:
        await engine.open({"model": "nobody", "stream": True, **QUESTION})
    assert refused.value.engine_status == 404


async def test_a_stream_ends_with_a_finish_reason_and_done(engine: Engine) -> None:
    stream = await engine.open({"model": "base", "stream": True, **QUESTION})
    payloads = [payload async for several in stream.events() for payload in several]
    stream.close()
    assert payloads[-1] == b"[DONE]"
    last = orjson.loads(payloads[-2])
    assert last["choices"][0]["finish_reason"] in ("stop", "length")
    assert b'"model":"base"' in payloads[0]


async def test_nobody_listening_is_unavailable() -> None:
    engine = Engine("http://127.0.0.1:9", 5)
    assert not await engine.healthy()
    with pytest.raises(Unavailable):
        await engine.chat({"model": "base", **QUESTION})
    await engine.close()
