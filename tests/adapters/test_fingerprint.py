"""A fingerprint tells an adapter that works from one that does nothing or something else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from adapters.base import BaseProfile
from adapters.fingerprint import Fingerprint, asked_of, read
from adapters.fingerprinting import fingerprint_of
from adapters.registry import AdapterRegistry
from indexer.settings import Paths

from .merging.test_merge import random_adapter

BASE = ((-1.0, -2.0, -3.0), (-0.5, -4.0, -1.0))
TOKENS = (7, 8, 9)
PROMPTS = ((1, 2, 3, 4), (1, 5, 6))


def moved(nats: float, of: tuple[tuple[float, ...], ...] = BASE) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(value + nats for value in row) for row in of)


KNOWN = Fingerprint(tokens=TOKENS, prompts=PROMPTS, base=BASE, adapter=moved(0.5))


def test_what_is_written_is_what_is_read() -> None:
    text = KNOWN.model_dump_json()
    assert '"-1.0 -2.0 -3.0"' in text
    assert Fingerprint.model_validate_json(text) == KNOWN
    assert KNOWN.effect == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompts", ["", "1"]),
        ("prompts", []),
        ("prompts", ["1 2 3"]),
        ("tokens", ""),
        ("tokens", "7 8"),
        ("base", ["-1 -2", "-0.5 -4"]),
        ("adapter", ["-1 -2 nan", "-0.5 -4 -1"]),
        ("adapter", ["-1 -2 -3"]),
        ("base", ["-1 -2 none", "-0.5 -4 -1"]),
    ],
)
def test_a_damaged_fingerprint_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Fingerprint.model_validate({**KNOWN.model_dump(mode="json"), field: value})


def test_an_adapter_that_does_nothing_is_told_whether_its_fingerprint_is_known_or_not() -> None:
    for known in (None, KNOWN):
        assert "no difference" in read(BASE, BASE, BASE, known).fault
        assert "no difference" in read(BASE, BASE, moved(0.0009), known).fault
    assert "no difference" in read(BASE, BASE, moved(-0.09), None).fault
    assert not read(BASE, BASE, moved(0.11), None).fault


def test_what_rounding_alone_can_do_is_no_difference() -> None:
    """The engine's base is elsewhere than where the version was made: of that a little is noise."""
    for far, noise in ((0.05, 0.05), (0.3, 0.1)):
        base = moved(far)
        weak = KNOWN.model_copy(update={"adapter": moved(noise + 0.01)})
        assert "no difference" in read(base, base, moved(far + noise - 0.01), weak).fault
        assert not read(base, base, moved(far + noise + 0.01), weak).fault
    assert not read(moved(0.3), moved(0.3), moved(0.8), KNOWN).fault


def test_one_that_did_nothing_where_it_was_made_does_nothing_here() -> None:
    idle = KNOWN.model_copy(update={"adapter": moved(0.0009)})
    assert "no difference" in read(BASE, BASE, moved(0.4), idle).fault


def test_a_difference_within_the_engines_own_noise_is_none() -> None:
    assert "no difference" in read(BASE, moved(0.1), moved(0.3), None).fault
    assert not read(BASE, moved(0.1), moved(0.5), None).fault


@pytest.mark.parametrize("strength", [0.0, 0.7, 1.3, 2.0, -1.0])
def test_an_adapter_at_another_strength_is_not_what_was_trained(strength: float) -> None:
    assert read(BASE, BASE, moved(0.5 * strength), KNOWN).fault
    assert not read(BASE, BASE, moved(0.5), KNOWN).fault


def test_where_the_base_itself_is_computed_otherwise_the_adapter_may_be_too() -> None:
    quantised = moved(0.1)
    assert not read(quantised, quantised, moved(0.7), KNOWN).fault
    assert read(BASE, BASE, moved(0.7), KNOWN).fault
    assert read(quantised, quantised, moved(1.5), KNOWN).fault


def test_answers_of_other_lengths_are_no_reading() -> None:
    with pytest.raises(ValueError, match="longer"):
        read(BASE, BASE, ((-1.0, -2.0), (-0.5, -4.0)), KNOWN)


def test_what_is_asked_lies_within_the_texts_and_the_context() -> None:
    texts = [list(range(100)), list(range(50, 60)), [3]]
    prompts, tokens = asked_of(texts, 40)
    assert [len(prompt) for prompt in prompts] == [10, 20, 5, 10, 1, 1]
    assert len(tokens) == 16
    assert set(tokens) <= {token for prompt in prompts for token in prompt}
    assert asked_of(texts, 40) == (prompts, tokens)


@pytest.fixture
def llama_base(llama: Path) -> BaseProfile:
    return BaseProfile.read(llama)


def test_a_fingerprint_is_what_peft_says(llama_base: BaseProfile, tmp_path: Path) -> None:
    folder = random_adapter(llama_base, tmp_path / "one", 1)
    taken = fingerprint_of(folder, llama_base)
    prompt, said = taken.prompts[0], taken.adapter[0]
    causal = AutoModelForCausalLM.from_pretrained(llama_base.folder, dtype=torch.float32)
    ids = torch.tensor([list(prompt)])
    for wanted, network in ((taken.base[0], causal), (said, None)):
        network = network or PeftModel.from_pretrained(causal, folder).eval()
        with torch.no_grad():
            expected = torch.log_softmax(network(input_ids=ids).logits[0, -1], -1)
        for token, value in zip(taken.tokens, wanted, strict=True):
            assert value == pytest.approx(expected[token].item(), abs=1e-3)
    assert taken.effect > 0.1
    assert not read(taken.base, taken.base, taken.adapter, taken).fault


def test_an_adapter_trained_to_nothing_passes_the_files_check_and_not_its_fingerprint(
    llama_base: BaseProfile, tmp_path: Path, paths: Paths
) -> None:
    folder = random_adapter(llama_base, tmp_path / "nothing", 1)
    weights = folder / "adapter_model.safetensors"
    tiny = {n: v * np.float32(1e-7 if "lora_B" in n else 1) for n, v in load_file(weights).items()}
    save_file(tiny, weights)
    taken = fingerprint_of(folder, llama_base)
    added = AdapterRegistry(paths).add(
        folder, "nothing", base=llama_base, prompt_format="sentences", fingerprint=taken
    )
    assert added.fingerprint == taken
    assert "no difference" in read(taken.base, taken.base, taken.adapter, taken).fault


def test_a_fingerprint_is_no_part_of_a_versions_name(
    llama_base: BaseProfile, tmp_path: Path
) -> None:
    folder = random_adapter(llama_base, tmp_path / "one", 1)
    added = [
        AdapterRegistry(Paths(tmp_path / name)).add(
            folder, "one", base=llama_base, prompt_format="sentences", fingerprint=known
        )
        for name, known in (("a", None), ("b", KNOWN))
    ]
    assert added[0].digest == added[1].digest
    stored = tmp_path / "b" / "adapters" / added[1].digest / "manifest.json"
    assert json.loads(stored.read_bytes())["fingerprint"]["prompts"] == ["1 2 3 4", "1 5 6"]
