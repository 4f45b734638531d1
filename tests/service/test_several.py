"""Several engines behind the service: affinity, failover, and engines that are really killed."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from eval.client import Client, ServiceRefused
from eval.rolling import TOLD, WHOLE, Rolling, RollingSettings
from service.errors import EngineRejected
from tests.live import LiveService, free_port
from tests.service.fake_engine import FakeEngine, serving
from tests.service.several import (
    engine_processes,
    in_front,
    set_adapter,
    several,
    start_engine,
    stock,
)

ABSENT_SECONDS = 6.0


@pytest.fixture(scope="module")
def stocked(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The two domains, and two versions of an adapter that either can have."""
    folder = tmp_path_factory.mktemp("stocked")
    return stock(indexed, folder, "support-style-v1", "support-style-v2")


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


@pytest.mark.parametrize(
    ("stream", "trouble"),
    [(False, "500"), (True, "500"), (True, "cut"), (True, "cut after role")],
)
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
        in_front(*stocked, [f"http://127.0.0.1:{port}" for port in children]) as product,
    ):
        units = product.service.engines.units
        product.until(lambda: all(unit.ready for unit in units), 20)
        set_adapter(product, "support-style@1")
        victim = max(units, key=lambda unit: unit.name)
        under_way = 0

        def kill() -> None:
            nonlocal under_way
            under_way = victim.in_flight
            os.kill(children[int(victim.name.rpartition(":")[2])].pid, signal.SIGKILL)

        texts = await streams(product.url, 32, 24, kill)
        whole = [text for text in texts if text.endswith("data: [DONE]\n\n")]
        ended = [text for text in texts if "[DONE]" not in text]
        assert len(whole) + len(ended) == 32
        assert all('data: {"error"' in text.splitlines()[-2] for text in ended)
        assert 0 < len(ended) <= under_way
        replies = [await asyncio.to_thread(product.chat) for _ in range(8)]
        assert [reply.status_code for reply in replies] == [200] * 8
        assert all(unit.in_flight == 0 for unit in units)


async def test_three_engines_are_killed_in_turn_under_64_streams_and_nobody_is_let_down(
    stocked: tuple[Path, Path],
) -> None:
    """As `python -m eval rolling` does on vLLM; a killed engine comes back empty."""
    with (
        engine_processes(3) as children,
        in_front(*stocked, [f"http://127.0.0.1:{port}" for port in children]) as product,
    ):
        units = product.service.engines.units
        product.until(lambda: all(unit.ready for unit in units), 20)

        def end(port: int) -> None:
            children[port].kill()
            children[port].wait()
            # No real engine is back before it was missed.
            asyncio.get_running_loop().call_later(ABSENT_SECONDS, start, port)

        def start(port: int) -> None:
            children[port] = start_engine(port)

        settings = RollingSettings(
            {"garden": ("support-style@1", "support-style@2")},
            clients=64,
            calm=0.5,
            swap_seconds=0.2,
            patience=60,
            question=f"slow {'x ' * 20}",
        )
        async with Client(product.url, concurrency=64) as client:
            ends = [lambda port=port: end(port) for port in list(children)]
            seen = await Rolling(client, settings, 3, ends).run()
        assert not seen.broken, (seen.outcomes, seen.reasons)
        assert seen.outcomes[WHOLE] > 200
        assert seen.outcomes[TOLD], "no engine died while it answered: nothing was tried"
        assert len(seen.away) == 3
        assert len(seen.swaps) > 5
        product.until(lambda: all(unit.in_flight == 0 for unit in units))


async def test_a_question_that_is_refused_for_itself_ends_the_measurement(
    stocked: tuple[Path, Path],
) -> None:
    with several(stocked, 2) as (product, _):
        async with Client(product.url) as client:
            with pytest.raises(ServiceRefused, match="There is no domain 'orchard'"):
                await Rolling(client, RollingSettings({"orchard": ()}, clients=4), 2, []).run()


@pytest.mark.vllm
def test_vllm_elsewhere_is_one_of_a_list(live: LiveService, stocked: tuple[Path, Path]) -> None:
    urls = [f"http://127.0.0.1:{free_port()}", live.engine_url]
    with in_front(*stocked, urls) as product:
        set_adapter(product, "support-style@1")
        reply = product.chat(max_tokens=4)
        assert reply.status_code == 200, reply.text
        assert reply.json()["dslm"]["adapter"] == "support-style@1"
        (name,) = {name for unit in product.service.engines.units for name in unit.switch.users()}
        unload = {"lora_name": name}
        httpx.post(f"{live.engine_url}/v1/unload_lora_adapter", json=unload).raise_for_status()
        assert product.chat(max_tokens=4).json()["dslm"]["adapter"] == "support-style@1"
        set_adapter(product, None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_an_engine_that_lost_an_adapter_while_it_lived_is_given_it_again(
    stocked: tuple[Path, Path], count: int, *, stream: bool
) -> None:
    """An address that another engine took over in a moment: nobody saw the first one go."""
    with several(stocked, count) as (product, fakes):
        assert product.chat().status_code == 200
        for fake in fakes:
            fake.adapters.clear()
            fake.asked.clear()
        reply = product.chat(stream=stream)
        assert reply.status_code == 200, reply.text
        assert not stream or reply.text.endswith("data: [DONE]\n\n")
        told = {one["model"] for fake in fakes for one in fake.asked if "messages" in one}
        assert told & {name for fake in fakes for name in fake.adapters}
        assert product.chat().json()["dslm"]["adapter"] == "support-style@1"


def test_an_engine_that_loses_whatever_it_is_given_is_a_503_and_not_the_clients_fault(
    stocked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(payload: dict[str, Any], _: str) -> None:
        raise EngineRejected(404, f"The model `{payload['model']}` does not exist.")

    with several(stocked, 1) as (product, _):
        (unit,) = product.service.engines.units
        monkeypatch.setattr(unit.engine, "chat", lost)
        reply = product.chat()
        assert reply.status_code == 503
        assert reply.headers["Retry-After"]
        assert "support-style" not in reply.text
