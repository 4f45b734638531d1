"""What the bases of each family look like, small: architecture, template, and what is special."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Templates of our own, in the way of each family: its marks, what it refuses, what it opens.
_HEADERS: Final = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content']"
    " + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
_BRACKETS: Final = (
    "{{ '<s>' }}{% set ns = namespace(said='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.said = m['content'] + '\n\n' %}"
    "{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + (ns.said if loop.last else '') + m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
)
_LINES: Final = (
    "{% for m in messages %}{{ '<|head|>' + m['role'] + '\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|head|>assistant\n' }}{% endif %}"
)
_THOUGHTS: Final = (
    "{% for m in messages %}{{ '<|head|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
_NO_SYSTEM: Final = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<|head|>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n'"
    " + m['content'] | trim + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>model\n' }}{% endif %}"
)
_FIRST_TURN: Final = (
    "{{ '<s>' }}{% set ns = namespace(said='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.said = m['content'] + '\n\n' %}{% else %}"
    "{{ '<|head|>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + ns.said"
    " + m['content'] | trim + '<|end|>\n' }}{% set ns.said = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>model\n' }}{% endif %}"
)
_ROLES: Final = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_OPENED: Final = (
    "{{ '<s>' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}"
    "{% else %}{{ '<|assistant|>' + m['content'].split('</think>')[-1] + '<|end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind` is transformers' `model_type`; `changes` go into its configuration."""

    name: str
    kind: str
    template: str
    special: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


_TIED: Final = {"tie_word_embeddings": True}
_GEMMA: Final = {**_TIED, "query_pre_attn_scalar": 32, "sliding_window": 64}
_PHI: Final = {"original_max_position_embeddings": 512}

SHAPES: Final = (
    Shape("Llama 3.x", "llama", _HEADERS),
    Shape("Mistral", "mistral", _BRACKETS, "system text in the last question"),
    Shape("Qwen 2.5", "qwen2", _LINES, "tied embeddings, biases", _TIED),
    Shape("Qwen 3", "qwen3", _THOUGHTS, "thinks unless told not to, q and k norms", _TIED),
    Shape("Gemma 2", "gemma2", _NO_SYSTEM, "no system role, soft caps, tied embeddings", _GEMMA),
    Shape("Gemma 3", "gemma3_text", _FIRST_TURN, "system text in the first question", _GEMMA),
    Shape("Phi-3", "phi3", _ROLES, "qkv and gate_up fused", _PHI),
    Shape(
        "Phi-4",
        "phi3",
        _ROLES,
        "fused, grouped queries, part of each head rotated, tied",
        {**_PHI, **_TIED, "num_attention_heads": 4, "partial_rotary_factor": 0.5},
    ),
    Shape("DeepSeek-distilled Qwen", "qwen2", _OPENED, "opens a thought before the answer"),
    Shape("DeepSeek-distilled Llama", "llama", _OPENED, "opens a thought before the answer"),
)
