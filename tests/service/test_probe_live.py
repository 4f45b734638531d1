"""What the probe does on real vLLM: it tells a no-op and a stranger from what was trained."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.base import BaseProfile
from adapters.fingerprint import Fingerprint
from adapters.fingerprinting import fingerprint_of
from adapters.manifest import WEIGHTS_FILE, AdapterManifest
from adapters.merging.merge import MergeSettings, Part, merge
from adapters.registry import AdapterRegistry
from adapters.tensors import read_floats, read_header
from indexer.settings import Paths
from service.settings import ServiceSettings
from tests.live import LiveService
from tests.service.swapping import registered, set_adapter
from tests.service.voices import FOLDER, register_voices

pytestmark = pytest.mark.vllm
BARE: dict[str, Any] = {
    "dslm": {"passages": False, "demonstrations": False, "mode": "generate"},
    "max_tokens": 6,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def base() -> BaseProfile:
    return BaseProfile.read(ServiceSettings().base)


@pytest.fixture
def shelf(live: LiveService) -> Iterator[AdapterRegistry]:
    """The service's own registry; its domain answers with version 1 afterwards."""
    register_voices(live.store)
    yield AdapterRegistry(Paths(live.store))
    set_adapter(live, "support-style@1")


def add(
    shelf: AdapterRegistry, folder: Path, base: BaseProfile, name: str, known: Fingerprint | None
) -> AdapterManifest:
    return shelf.add(folder, name, base=base, prompt_format="sentences", fingerprint=known)


def swap(live: LiveService, adapter: str) -> httpx.Response:
    url = f"{live.url}/v1/domains/support/adapter"
    return httpx.put(url, json={"adapter": adapter}, timeout=60)


def weakened(source: Path, target: Path, factor: float) -> Path:
    """The same adapter with its B factors made smaller: nothing that the files show is wrong."""
    shutil.copytree(source, target)
    path = target / WEIGHTS_FILE
    values = {name: read_floats(path, info) for name, info in read_header(path).items()}
    save_file(
        {n: v * np.float32(factor if "lora_B" in n else 1.0) for n, v in values.items()}, path
    )
    return target


@pytest.mark.parametrize("with_fingerprint", [False, True])
def test_a_no_op_that_passes_every_check_of_its_files_is_refused_by_the_probe(
    live: LiveService,
    shelf: AdapterRegistry,
    base: BaseProfile,
    tmp_path: Path,
    with_fingerprint: bool,
) -> None:
    folder = weakened(FOLDER / "one", tmp_path / "nothing", 1e-5)
    known = fingerprint_of(folder, base) if with_fingerprint else None
    name = f"nothing-{'known' if with_fingerprint else 'unknown'}"
    added = add(shelf, folder, base, name, known)
    set_adapter(live, "support-style@1")
    refused = swap(live, added.label)
    assert refused.status_code == 400
    assert "makes no difference" in refused.json()["error"]["message"]
    assert registered(live, name) == []
    live_one = httpx.get(f"{live.url}/v1/domains/support").json()["release"]["adapter"]
    assert (live_one["name"], live_one["version"]) == ("support-style", 1)


def test_an_adapter_that_is_not_what_was_trained_is_refused_by_its_fingerprint(
    live: LiveService, shelf: AdapterRegistry, base: BaseProfile, tmp_path: Path
) -> None:
    """Weights that say another word, and the right ones at another strength."""
    known = fingerprint_of(FOLDER / "two", base)
    assert swap(live, add(shelf, FOLDER / "two", base, "true-two", known).label).status_code == 200
    halved = weakened(FOLDER / "two", tmp_path / "half", 0.5)
    for folder, name in ((FOLDER / "three", "false-two"), (halved, "half-two")):
        refused = swap(live, add(shelf, folder, base, name, known).label)
        assert (refused.status_code, "as it was trained" in refused.text) == (400, True)
        assert registered(live, name) == []


def test_merged_versions_are_served_as_peft_computes_them(
    live: LiveService, shelf: AdapterRegistry, base: BaseProfile, tmp_path: Path
) -> None:
    """The exact sum (ranks 2 + 2), one at 0.7, and a sum compressed to rank 3, all on vLLM."""
    one, two = (shelf.get(f"voice@{number}") for number in (1, 2))
    both = [Part(manifest, shelf.folder(manifest)) for manifest in (one, two)]
    cases: list[tuple[str, list[Part], int | None]] = [
        ("summed", both, None),
        ("softer", [replace(both[0], weight=0.7)], None),
        ("smaller", both, 3),
    ]
    for name, parts, rank in cases:
        folder = tmp_path / name
        folder.mkdir()
        record = merge(parts, MergeSettings(name, rank=rank), base, folder, 16)
        assert (record.error > 0) == (rank is not None)
        added = add(shelf, folder, base, name, fingerprint_of(folder, base))
        assert swap(live, added.label).status_code == 200, name
        answer = live.chat("support", "How do I clean it?", **BARE).json()
        assert answer["dslm"]["adapter"] == added.label
    log = (live.store / "serve.log").read_text("utf-8")
    probed = [line for line in log.splitlines() if "smaller@1 probed in" in line]
    assert len(probed) == 1, "the probe's cost stands in the log"


def test_the_shipped_adapters_carry_fingerprints_that_match(live: LiveService) -> None:
    """`make serve` has probed them before the first question: their release answers."""
    registry = AdapterRegistry(Paths(live.store))
    shipped = [one for one in registry.list() if one.name in ("support-style", "clinic-triage")]
    assert len(shipped) == 4
    assert all(one.fingerprint and one.fingerprint.effect > 1 for one in shipped)
    for version in (2, 1):
        assert set_adapter(live, f"support-style@{version}")
    metrics = httpx.get(f"{live.url}/metrics").text
    counts = [line for line in metrics.splitlines() if "dslm_adapter_probe_seconds_count" in line]
    assert float(counts[0].rsplit(" ", 1)[1]) >= 2


def test_echoed_prompts_with_log_probabilities_do_not_end_the_engine(live: LiveService) -> None:
    """Fails, vLLM's core being dead, when the plugin mends `strangers` alone."""
    process = live.engine_processes()[0].pid
    asked = {"prompt": ["Clean the machine twice a week, not more", "Hello there"] * 3}
    body = {"model": "base", "echo": True, "logprobs": 1, "max_tokens": 1, **asked}
    for _ in range(2):
        answer = httpx.post(f"{live.url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
    assert live.engine_processes()[0].pid == process
    assert live.chat("support", "How do I clean it?", **BARE).status_code == 200
