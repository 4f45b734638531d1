"""The whole product as a child process: `dslm serve` with real vLLM and a store of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 420
STOP_SECONDS = 60


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class LiveService:
    """One running service; `url` answers, `engine_url` is vLLM behind it."""

    store: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    engine_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.engine_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            # One thread, as conftest says: those of the engine wait for each other at every layer,
            # which with as many busy processes as cores costs far more than they compute.
            **os.environ,
            "DSLM_PORT": str(self.port),
            "DSLM_ENGINE_PORT": str(self.engine_port),
            "DSLM_STORE": str(self.store),
            "DSLM_ENGINE_IDLE_SECONDS": "0",  # tests count what the engine is asked
            **self.settings,
        }

    def start(self) -> "LiveService":
        self.store.mkdir(parents=True, exist_ok=True)
        with (self.store / "serve.log").open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "dslm", "serve"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def ready(self) -> "LiveService":
        """Wait until every domain answers."""
        self.wait_for(lambda: self._status("/ready") == 200, START_SECONDS)
        return self

    def wait_for(self, condition: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.child.poll() is None, f"the service ended:\n{self.log()}"
            assert time.monotonic() < end, f"not within {seconds} s:\n{self.log()}"
            time.sleep(0.1)

    def engine_processes(self) -> list[psutil.Process]:
        """vLLM's server and what that started."""
        return [
            process
            for process in psutil.Process(self.child.pid).children(recursive=True)
            if any("launch.py" in part or "VLLM" in part for part in process.cmdline())
        ]

    def engine_metric(self, name: str) -> float:
        """One of vLLM's own gauges."""
        text = httpx.get(f"{self.engine_url}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        try:
            return self.child.wait(STOP_SECONDS)
        finally:
            if self.child.poll() is None:
                os.killpg(self.child.pid, signal.SIGKILL)

    def log(self) -> str:
        return (self.store / "serve.log").read_text(encoding="utf-8")[-6000:]

    def chat(self, model: str, question: str, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": question}], **more}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=120)

    def _status(self, path: str) -> int:
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).status_code
        except httpx.TransportError:
            return 0
