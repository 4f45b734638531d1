"""An embedder in a process of its own is the embedder, and never outlives who asks it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from indexer.domain import EmbedderSettings
from indexer.embedding.apart import Process
from indexer.embedding.embedder import Embedder
from indexer.errors import BadInput, DslmError
from tests.indexer.tiny_encoders import write_bge

_TEXTS = [f"the kettle boils {'how big ' * (number % 5)}" for number in range(200)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EmbedderSettings:
    folder = write_bge(tmp_path_factory.mktemp("models") / "bge-tiny-en-v1.5")
    return EmbedderSettings(name=str(folder))


@pytest.fixture
def process(settings: EmbedderSettings) -> Iterator[Process]:
    made = Process(settings)
    yield made
    made.close()


def test_it_says_and_gives_what_the_embedder_itself_does(
    process: Process, settings: EmbedderSettings
) -> None:
    apart, here = process.embedder(), Embedder(settings)
    for name in ("dtype", "fingerprint", "space", "dimension", "max_tokens", "pooling"):
        assert getattr(apart, name) == getattr(here, name)
    for name in ("query_prefix", "passage_prefix", "revision", "libraries"):
        assert getattr(apart, name) == getattr(here, name)
    assert apart.count_tokens("the kettle boils") == here.count_tokens("the kettle boils") == 3
    for role in ("passage", "query", "question"):
        found = np.zeros((len(_TEXTS), apart.dimension), dtype=np.float32)
        for rows, vectors in apart.stream(_TEXTS, role):
            found[rows] = vectors
        expected = {
            "passage": here.embed_passages,
            "query": here.embed_queries,
            "question": here.embed_symmetric,
        }[role](_TEXTS)
        assert np.array_equal(found, expected)
    for (text, one), (other, two) in zip(apart.probes(), here.probes(), strict=True):
        assert text == other
        assert np.array_equal(one, two)


def test_what_cannot_be_loaded_is_the_embedders_own_error(tmp_path: Path) -> None:
    process = Process(EmbedderSettings(name=str(tmp_path)))
    try:
        with pytest.raises(BadInput, match=r"cannot be loaded.*embedder\.name"):
            process.embedder()
    finally:
        process.close()


def test_a_process_that_is_killed_is_an_error_that_says_so(process: Process) -> None:
    apart = process.embedder()
    stream = apart.stream(_TEXTS * 50, "passage")
    next(stream)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DslmError, match=r"process that embeds ended \(exit code -9\)"):
        list(stream)
    with pytest.raises(DslmError):
        list(apart.stream(_TEXTS, "passage"))


def test_leaving_a_stream_or_closing_ends_the_process(
    process: Process, settings: EmbedderSettings
) -> None:
    stream = process.embedder().stream(_TEXTS * 50, "passage")
    next(stream)
    stream.close()
    loading = Process(settings)
    loading.close()
    assert not psutil.pid_exists(process.pid)
    assert not psutil.pid_exists(loading.pid)


def test_it_ends_with_who_started_it(settings: EmbedderSettings) -> None:
    code = (
        "import sys, time\n"
        "from indexer.domain import EmbedderSettings\n"
        "from indexer.embedding.apart import Process\n"
        f"made = Process(EmbedderSettings(name={settings.name!r}))\n"
        "made.embedder()\n"
        "print(made.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        deadline = time.monotonic() + 10
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_it_keeps_little_of_what_it_compiled_unless_it_is_told_to(
    settings: EmbedderSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    made = Process(settings)
    try:
        made.embedder()
        told = psutil.Process(made.pid).environ()
    finally:
        made.close()
    assert (told["LRU_CACHE_CAPACITY"], told["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("7", "128")
