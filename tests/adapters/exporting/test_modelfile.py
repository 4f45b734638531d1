"""Ollama's prompts are the engine's, character by character, or there is no template at all."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import BaseProfile
from adapters.exporting.modelfile import modelfile, pieces_of
from adapters.templates import takes_system, without_system

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{{ '<s>' }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n{{ m['content'] | trim }}"
    "<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{{ m['content'] | trim }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
INSTRUCT = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}{% set s = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}[INST] "
    "{% if loop.first and s %}{{ s }}\n\n{% endif %}{{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
COUNTED = "{% for m in messages %}{{ loop.index }} {{ m['content'] }}{% endfor %}"
SHOUTED = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
TEXT = st.text("abc XYZ.,!?é\n0", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize("template", [CHATML, HEADERS, NO_SYSTEM, INSTRUCT])
@given(
    system=st.none() | TEXT,
    said=st.lists(TEXT, min_size=1, max_size=5).filter(lambda s: len(s) % 2),
)
def test_the_pieces_write_what_the_template_writes(
    chat: Any, template: str, system: str | None, said: list[str]
) -> None:
    chat.chat_template = template
    pieces = pieces_of(chat)
    assert pieces
    roles = ["user", "assistant"] * 3
    turns = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
    whole = [{"role": "system", "content": system}, *turns] if system else turns
    sent = whole if takes_system(chat) else without_system(whole)
    wanted = chat.apply_chat_template(sent, tokenize=False, add_generation_prompt=True)
    assert pieces.render(whole) == wanted


@pytest.mark.parametrize("template", [COUNTED, SHOUTED, "{{ '{{' }}" + CHATML, "fixed"])
def test_a_template_that_does_more_than_stand_around_turns_has_no_pieces(
    tokenizer: Any, template: str
) -> None:
    tokenizer.chat_template = template
    assert pieces_of(tokenizer) is None


def test_the_template_is_gos(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    pieces = pieces_of(tokenizer)
    assert pieces
    assert pieces.template() == (
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n"
        "{{ else }}<|im_start|>system\nYou help.<|im_end|>\n{{ end }}"
        '{{ range .Messages }}{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        "{{ end }}{{ end }}<|im_start|>assistant\n"
    )


def test_where_there_is_no_template_the_modelfile_says_so(llama: Path, tokenizer: Any) -> None:
    base = BaseProfile.read(llama)
    said = modelfile(base, "one.gguf", 'Be """brief""".')
    assert "TEMPLATE" in said
    assert "SYSTEM \"\"\"Be '''brief'''.\"\"\"" in said
    assert f"PARAMETER num_ctx {base.context}" in said


@pytest.fixture(scope="module")
def chat() -> Any:
    from tests.adapters.conftest import make_tokenizer

    return make_tokenizer()
