"""Promise 4: no admin call can kill the engine, nor make it answer wrongly.

The five sequences of calls that kill vLLM 0.32 or make it lie, as far as the service's API lets
them through, on an engine with two places for adapters. All the while an innocent client reads
streams of the base: none may break, and the engine's process stays the same.

What is said below to make a test fail was taken out on vLLM, and seen; of the last two tests
nothing was seen to fail; the one before the last was tried with what is said last of `a`.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.base import BaseProfile
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from indexer.settings import Paths
from service.settings import DEMO, ServiceSettings
from tests.live import LiveService
from tests.service.swapping import LONG, content, read, registered, set_adapter
from tests.service.voices import FOLDER, VOICES, register_voices

pytestmark = pytest.mark.vllm
STYLE = DEMO / "adapters"
INNOCENT = {
    "model": "base",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 200,
    "ignore_eos": True,
    "temperature": 0,
}
QUESTION = "How long should I soak a new filter cartridge before fitting it?"
BARE: dict[str, Any] = {
    "dslm": {"passages": False, "demonstrations": False, "mode": "generate"},
    "max_tokens": 6,
    "temperature": 0,
}


class Innocent:
    """A client that reads one stream of the base after the other until it is told to stop."""

    def __init__(self, live: LiveService) -> None:
        self.undisturbed = read(live, INNOCENT)
        self.heard: list[str] = []
        self._live = live
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while not self._done.is_set():
            self.heard.append(read(self._live, INNOCENT))

    def __enter__(self) -> "Innocent":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(60)


@pytest.fixture
def engine(own: LiveService) -> Iterator[LiveService]:
    """Alive and the same after each sequence as before it, and heard by innocents throughout."""
    register_voices(own.store)
    set_adapter(own, "support-style@1")
    process = own.engine_processes()[0].pid
    with Innocent(own) as innocent:
        yield own
        assert len(registered(own, "", whole=True)) <= 2
    assert own.engine_processes()[0].pid == process
    assert httpx.get(f"{own.engine_url}/health").status_code == 200
    assert innocent.heard
    assert all(one.endswith("data: [DONE]\n") for one in innocent.heard)
    assert {content(one) for one in innocent.heard} == {content(innocent.undisturbed)}


def swap(live: LiveService, domain: str, adapter: str | None) -> httpx.Response:
    body = {"adapter": adapter}
    return httpx.put(f"{live.url}/v1/domains/{domain}/adapter", json=body, timeout=60)


def says(live: LiveService, domain: str, question: str = QUESTION, **more: Any) -> str:
    answer = live.chat(domain, question, **more)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def churn(live: LiveService) -> None:
    """Other adapters come and go in the engine's two places, so that every slot is taken anew."""
    for voice in VOICES:
        assert swap(live, "legal", voice).status_code == 200
        assert says(live, "legal", **BARE).startswith(("one", "two", "three"))
    assert swap(live, "legal", None).status_code == 200


def test_a_an_adapter_that_comes_back_under_a_running_answer_of_its_old_self(
    engine: LiveService,
) -> None:
    """Unloaded, loaded again and its slot taken, all while an old stream of it is read.

    Fails, vLLM being dead, when all versions of a line are loaded under one name from one folder.
    Not when a version's name is only used again and `_load` also parks what writes an answer.
    """
    undisturbed = read(engine, LONG)
    before = says(engine, "support")

    def change() -> None:
        for adapter in ("support-style@2", "support-style@1", "support-style@2"):
            assert swap(engine, "support", adapter).status_code == 200
        churn(engine)
        assert swap(engine, "support", "support-style@1").status_code == 200
        assert says(engine, "support") == before

    during = read(engine, LONG, after=20, then=change)
    assert content(during) == content(undisturbed)
    assert during.endswith("data: [DONE]\n")
    churn(engine)
    assert says(engine, "support") == before


def added(live: LiveService, folder: Path, name: str) -> AdapterManifest:
    base = BaseProfile.read(ServiceSettings().base)
    return AdapterRegistry(Paths(live.store)).add(
        folder, name, base=base, prompt_format="sentences"
    )


def test_b_an_evicted_adapter_whose_files_are_gone(engine: LiveService, tmp_path: Path) -> None:
    """Of the folder it was added from nothing is needed; without its own it is refused in words.

    Fails, vLLM being dead, when `AdapterSwitch` counts on more places than the engine has and
    `VerifiedFolder` no longer looks; not when only the looking is taken out, here and in
    `verified`.
    """
    source = shutil.copytree(FOLDER / "one", tmp_path / "one")
    manifest = added(engine, source, "fleeting")
    shutil.rmtree(source)
    assert swap(engine, "support", "fleeting@1").status_code == 200
    churn(engine)
    assert says(engine, "support", **BARE).startswith("one one")
    stored = Paths(engine.store).adapter(manifest.digest)
    with away(stored):
        churn(engine)
        refused = engine.chat("support", QUESTION, **BARE)
        assert refused.status_code == 503
        assert "fleeting@1" in refused.json()["error"]["message"]
        assert swap(engine, "support", "support-style@1").status_code == 200
        assert swap(engine, "support", "fleeting@1").status_code == 503
        says(engine, "base", **BARE | {"dslm": {}})
    assert swap(engine, "support", "fleeting@1").status_code == 200
    assert says(engine, "support", **BARE).startswith("one one")


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """The folder is elsewhere for the block."""
    elsewhere = folder.rename(folder.with_name(".elsewhere"))
    try:
        yield
    finally:
        elsewhere.rename(folder)


def test_c_other_weights_at_the_same_path(engine: LiveService, tmp_path: Path) -> None:
    """From the same folder comes another version, and its answers are its own, cached or not.

    Fails when neither `VerifiedFolder` nor `verified` compares the files; not when all versions of
    a line are loaded under one name from one folder: the test of promise 2 sees that.
    """
    source = shutil.copytree(FOLDER / "one", tmp_path / "voice")
    added(engine, source, "changing")
    assert swap(engine, "support", "changing@1").status_code == 200
    assert says(engine, "support", **BARE).startswith("one one")
    shutil.copy(FOLDER / "two" / "adapter_model.safetensors", source)
    assert says(engine, "support", **BARE).startswith("one one")
    manifest = added(engine, source, "changing")
    assert swap(engine, "support", "changing@2").status_code == 200
    assert says(engine, "support", **BARE).startswith("two two")
    stored = Paths(engine.store).adapter(manifest.digest) / "adapter_model.safetensors"
    stored.write_bytes((FOLDER / "three" / "adapter_model.safetensors").read_bytes())
    refused = engine.chat("support", QUESTION, **BARE)
    assert (refused.status_code, "changed" in refused.text) == (503, True)
    assert swap(engine, "support", "changing@1").status_code == 200
    assert swap(engine, "support", "changing@2").status_code == 503
    assert says(engine, "support", **BARE).startswith("one one")


@pytest.mark.parametrize(
    "call",
    [
        lambda http: http.put(
            "/v1/domains/support/adapter", json={"adapter": VOICES[0], "load_inplace": True}
        ),
        lambda http: http.post(
            "/v1/load_lora_adapter",
            json={"lora_name": "support-style@1", "lora_path": "/x", "load_inplace": True},
        ),
        lambda http: http.post("/v1/unload_lora_adapter", json={"lora_name": "support-style@1"}),
        lambda http: http.post(
            "/v1/chat/completions",
            json={"model": "support", "messages": [], "lora_path": "/x", "load_inplace": True},
        ),
    ],
)
def test_d_no_call_says_load_inplace(
    engine: LiveService, call: Callable[[httpx.Client], httpx.Response]
) -> None:
    """The first call is let through when `AdapterChange` ignores unknown fields.

    The others were not tried.
    """
    before = registered(engine, "", whole=True)
    with httpx.Client(base_url=engine.url, timeout=60) as http:
        assert call(http).status_code in (400, 404, 405)
    assert registered(engine, "", whole=True) == before


def test_e_new_weights_of_a_name_in_the_middle_of_its_stream(
    engine: LiveService, tmp_path: Path
) -> None:
    """What is added to a line of versions under a stream is for the answers after it.

    Fails when all versions of a line have one name in the engine and `load_inplace` is said: the
    stream goes on in the words of the new one.
    """
    source = shutil.copytree(STYLE / "support-style-v1", tmp_path / "style")
    added(engine, source, "growing")
    assert swap(engine, "support", "growing").status_code == 200
    undisturbed = read(engine, LONG)

    def replace() -> None:
        (source / "adapter.json").unlink()  # tells how the weights before these answer
        shutil.copy(FOLDER / "three" / "adapter_config.json", source)
        shutil.copy(FOLDER / "three" / "adapter_model.safetensors", source)
        assert added(engine, source, "growing").version == 2
        assert swap(engine, "support", "growing").status_code == 200
        assert says(engine, "support", **BARE).startswith("three three")

    during = read(engine, LONG, after=20, then=replace)
    assert content(during) == content(undisturbed)
    assert says(engine, "support", **BARE).startswith("three three")


def test_more_domains_and_releases_than_places_take_turns_or_are_told_to_wait(
    engine: LiveService,
) -> None:
    """Three domains with an adapter each, older releases asked for by number: two places."""
    numbers = [swap(engine, "legal", voice).json()["number"] for voice in VOICES]
    statuses = set()

    def ask(name: str) -> None:
        answer = engine.chat(name, QUESTION, **BARE)
        statuses.add(answer.status_code)
        if answer.status_code != 200:
            assert int(answer.headers["Retry-After"]) >= 1

    names = ["support", "clinic", "legal", *(f"legal@{number}" for number in numbers)]
    threads = [threading.Thread(target=ask, args=(name,)) for name in names * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses <= {200, 429, 503}
    assert 200 in statuses
    for word, number in zip(("one", "two", "three"), numbers, strict=True):
        assert says(engine, f"legal@{number}", **BARE).startswith(word)
    assert swap(engine, "legal", None).status_code == 200


def test_a_stream_of_the_base_says_the_same_whatever_adapters_do_beside_it(
    own: LiveService,
) -> None:
    """Once every slot is taken, `lora_b_weights[-1]` of `torch_ops` colours the base's rows."""
    register_voices(own.store)
    with Innocent(own) as innocent:
        for _ in range(3):
            churn(own)
    assert {content(one) for one in innocent.heard} == {content(innocent.undisturbed)}
