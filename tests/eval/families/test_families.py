"""Every family of bases: trained on, verified, and asked as it was trained, all but the engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.base import BaseProfile
from adapters.counting import TokenCounter
from adapters.errors import AdapterRefused
from adapters.families import FAMILIES, OTHERS, family_of, first_rate
from adapters.prompt import Message, compose
from adapters.templates import takes_system, without_system
from adapters.training.rendering import Rendering, Row, render
from adapters.verify import verify_adapter
from eval.families.making import ANSWER, QUESTIONS, RANK, SYSTEM, Made, make
from eval.families.shapes import SHAPES, Shape
from eval.families.tiny import build
from indexer.records import Demonstration

NAMES = [shape.name for shape in SHAPES]
SOLVED = (Demonstration("d1", "What was it?", "Green.", ""),)
FOLDED = {"Mistral", "Gemma 2"}


@pytest.fixture(scope="module", params=SHAPES, ids=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(request.param, tmp_path_factory.mktemp("family"))


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_an_adapter_is_trained_verified_and_moves_its_base(made: Made) -> None:
    training, known = made.card.training, made.card.fingerprint
    assert training
    assert known
    assert training.last_loss < 0.1 * training.first_loss
    assert known.effect > 0.5
    fused = made.shape.kind == "phi3"
    assert ("qkv_proj" in made.facts.target_modules) == fused
    assert ("q_proj" in made.facts.target_modules) == (not fused)
    assert made.facts.rank == RANK


def test_what_is_trained_is_what_the_service_would_send(made: Made) -> None:
    """With a system text and a solved example, in the template of the family."""
    tokenizer, counter = tokenizer_of(made.base.folder), TokenCounter(str(made.base.folder))
    row = Row("r:1", ({"role": "user", "content": QUESTIONS[0]},), ANSWER, (), SOLVED)
    rendering = Rendering("sentences", SYSTEM, "", frozenset({tokenizer.eos_token_id}))
    trained = render(row, rendering, tokenizer)
    prompt = compose(
        "sentences", row.messages, (), SOLVED, SYSTEM, 400, counter.count, counter.per_message, ""
    )
    messages: list[Any] = list(prompt.messages)
    sent = messages if counter.takes_system else without_system(messages)
    assert counter.takes_system == (made.shape.name not in FOLDED)
    options = {"enable_thinking": False} if counter.template_names("enable_thinking") else {}
    seen = tokenizer.apply_chat_template(
        sent, add_generation_prompt=True, return_dict=True, **options
    )["input_ids"]
    assert list(trained.tokens[: trained.answer_start]) == seen
    said = tokenizer.decode(trained.tokens[trained.answer_start :])
    assert said.strip() == f"{ANSWER}<|end|>"
    assert SYSTEM in tokenizer.decode(seen)
    assert len(seen) <= prompt.tokens


def test_an_adapter_of_one_family_is_no_adapter_of_another(tmp_path: Path) -> None:
    phi, llama = (shape for shape in SHAPES if shape.name in ("Phi-3", "Llama 3.x"))
    trained = make(phi, tmp_path / "phi")
    other = BaseProfile.read(build(llama, tmp_path / "llama"))
    with pytest.raises(AdapterRefused):
        verify_adapter(trained.adapter, other, RANK)


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_a_family_is_told_by_its_configuration(shape: Shape) -> None:
    found = family_of({"model_type": shape.kind})
    assert found in FAMILIES
    assert found.name.split()[0].split("-")[0] in shape.name or "distilled" in shape.name
    assert found.source


def test_an_unknown_family_begins_as_most_do() -> None:
    assert family_of({"model_type": "mamba"}) is OTHERS
    assert family_of({}) is OTHERS


def test_a_template_that_refuses_a_system_message_or_moves_it_gets_none(tmp_path: Path) -> None:
    folders = {shape.name: build(shape, tmp_path / shape.name) for shape in SHAPES}
    refused = {name for name, path in folders.items() if not takes_system(tokenizer_of(path))}
    assert refused == FOLDED


def test_a_system_text_goes_before_the_first_question() -> None:
    turns: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
    ]
    folded = without_system(turns)
    assert [turn["content"] for turn in folded] == ["Be brief.\n\nOne?", "1", "Two?"]
    assert without_system(turns[1:]) == turns[1:]
    parts: list[Any] = [turns[0], {"role": "user", "content": [{"type": "text", "text": "One?"}]}]
    (only,) = without_system(parts)
    assert [part["text"] for part in only["content"]] == ["Be brief.\n\n", "One?"]
    assert json.dumps(turns[1]) == '{"role": "user", "content": "One?"}', "the caller's is kept"


@pytest.mark.parametrize(
    ("method", "rate"),
    [("lora", 2e-5), ("qlora", 2e-5), ("dpo", 5e-6), ("full", 2e-5), ("continued", 2e-4)],
)
def test_learning_begins_at_the_familys_rate(tmp_path: Path, method: str, rate: float) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gemma2"}', "utf-8")
    assert first_rate(str(tmp_path), method) == rate
