"""Becomes vLLM's own API server, and is ended with the service even if that is killed."""

import ctypes
import os
import runpy
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 10.0
POLL_SECONDS = 0.1


def follow_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies (Linux); end now if it has died already."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def end_with_stdin() -> None:
    """Leave a watcher behind that ends this process group once standard input is closed.

    A signal to this process alone is not enough: a server that hangs, or is killed together with
    its parent, leaves its engine core behind, and that keeps the GPU's memory.
    """
    if os.fork() == 0:
        try:
            _watch()
        finally:
            os._exit(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)


def _watch() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    group, engine = os.getpgrp(), os.getppid()
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os.killpg(group, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while os.getppid() == engine and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    end_with_stdin()
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
