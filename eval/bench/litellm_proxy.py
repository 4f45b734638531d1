"""LiteLLM's proxy as a peer, installed in an environment of its own; no part of our program."""

import shutil
import sys
from pathlib import Path

from eval.bench.indexing_child import run_child
from eval.bench.indexing_peers import environments

PACKAGE = "litellm[proxy]==1.106.2"
_READY = ".ready"
_CONFIG = """model_list:
  - model_name: base
    litellm_params:
      model: openai/base
      api_base: {address}/v1
      api_key: none
"""


def home() -> Path:
    """Its environment, kept between runs."""
    return environments() / "litellm"


def install() -> Path:
    """Its program, once it is installed. DidNotRun: it cannot be, with the reason."""
    place = home()
    program = place / "bin" / "litellm"
    if (place / _READY).exists():
        return program
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    run_child([sys.executable, "-m", "venv", str(place)], place.parent)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run_child([*pip, PACKAGE], place.parent)
    (place / _READY).touch()
    return program


def command(
    program: Path, folder: Path, port: int, address: str
) -> tuple[list[str], dict[str, str]]:
    """One worker, no database, no log of requests: the least that it does; and its environment."""
    config = folder / "litellm.yaml"
    config.write_text(_CONFIG.format(address=address), encoding="utf-8")
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        # Bare of keys as the other relays, and on loopback.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "NO_PROXY": "127.0.0.1",
    }
    return [str(program), *arguments], environment
