"""How children are started: with whatever vLLM can be told, where they may, and one by one."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

import service.engines.command as command_module
import service.engines.units as units_module
from adapters.registry import AdapterRegistry
from indexer.errors import BadInput
from indexer.settings import Paths
from service.engines.bases import read_bases
from service.engines.command import Child, engine_command, engine_environment
from service.engines.entries import EngineEntry
from service.engines.planned import MemoryPlan
from service.engines.units import EngineBuilder, InTurn
from service.settings import DEMO, ServiceSettings
from service.telemetry import Telemetry


def child(options: str = "", **more: object) -> Child:
    entry = EngineEntry(name="small", base=str(DEMO / "model"), options=options, context=4096)
    return Child(entry, 8001, **more)  # type: ignore[arg-type]


def after(command: list[str], name: str) -> str:
    return command[len(command) - 1 - command[::-1].index(name) + 1]


def test_any_option_of_vllm_passes_and_comes_last() -> None:
    options = '--max-num-seqs 64 --speculative-config \'{"method": "ngram"}\' --dtype bfloat16'
    command = engine_command(ServiceSettings(), child(options))
    assert (after(command, "--model"), after(command, "--max-model-len")) == (
        str(DEMO / "model"),
        "4096",
    )
    assert after(command, "--speculative-config") == '{"method": "ngram"}'
    assert after(command, "--dtype") == "bfloat16"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--max-cpu-loras 4", "Set DSLM_MAX_CPU_LORAS"),
        ("--max_lora_rank=64", "Set DSLM_MAX_LORA_RANK"),
        ("--config x.yaml", "may not hold --config"),
        ("--served_model_name x", "may not hold"),
    ],
)
def test_what_the_service_counts_on_cannot_be_told_otherwise(options: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        engine_command(ServiceSettings(), child(options))


def test_a_share_of_a_gpu_and_the_gpu_itself_reach_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: False)
    one = child(memory=0.4567, gpu="1")
    command = engine_command(ServiceSettings(), one)
    assert after(command, "--gpu-memory-utilization") == "0.457"
    environment = engine_environment(one)
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment
    monkeypatch.setattr(command_module, "is_cpu_build", lambda: True)
    assert engine_environment(child(cache_gib=7))["VLLM_CPU_KVCACHE_SPACE"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert engine_environment(child(threads=3))["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert engine_environment(child(threads=3))["OMP_NUM_THREADS"] == "5"


def test_every_gpu_gets_a_child_with_a_port_of_its_own(tmp_path: Path) -> None:
    text = f'[[engine]]\nname = "two"\nbase = "{DEMO / "model"}"\ngpus = ["0", "1"]\n'
    (tmp_path / "engines.toml").write_text(text, "utf-8")
    settings = ServiceSettings(
        store=tmp_path, engines=tmp_path / "engines.toml", engine_port=18_000
    )
    registry = AdapterRegistry(Paths(tmp_path))
    engines = EngineBuilder(settings, registry, Telemetry(), MemoryPlan()).build(
        read_bases(settings)
    )
    assert [unit.name for unit in engines.units] == ["base", "two.0", "two.1"]
    urls = [unit.engine.url for unit in engines.units]
    assert urls[0] == "http://127.0.0.1:18000"
    assert len(set(urls)) == 3


@pytest.mark.parametrize(("cores", "threads"), [(8, 4), (5, 2), (1, 1)])
def test_children_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    asked: list[int] = []

    def environment(one: Child, secrets: object) -> dict[str, str]:
        asked.append(one.threads)
        return {}

    monkeypatch.setattr(units_module, "cores", lambda: cores)
    monkeypatch.setattr(units_module, "engine_environment", environment)
    text = f'[[engine]]\nname = "two"\nbase = "{DEMO / "model"}"\n'
    (tmp_path / "engines.toml").write_text(text, "utf-8")
    settings = ServiceSettings(store=tmp_path, engines=tmp_path / "engines.toml")
    registry = AdapterRegistry(Paths(tmp_path))
    EngineBuilder(settings, registry, Telemetry(), MemoryPlan()).build(read_bases(settings))
    assert asked == [threads, threads]


class Slow:
    """A child that has started when it is told so."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name

    async def start(self) -> None:
        self._log.append(self._name)

    async def stop(self, grace: float) -> None:
        return


async def test_children_start_one_after_the_other_also_when_one_fails() -> None:
    log: list[str] = []
    turn = asyncio.Lock()
    hosts: Mapping[str, InTurn] = {
        name: InTurn(Slow(log, name), turn)  # type: ignore[arg-type]
        for name in "abc"
    }
    starting = [asyncio.create_task(host.start()) for host in hosts.values()]
    await asyncio.sleep(0.01)
    assert log == ["a"]
    hosts["a"].started()
    await asyncio.sleep(0.01)
    assert log == ["a", "b"]
    await hosts["b"].stop(0)
    await asyncio.sleep(0.01)
    assert log == ["a", "b", "c"]
    hosts["a"].started()  # a second time takes nobody's turn
    assert turn.locked()
    await asyncio.gather(*starting)
