"""A tiny base and adapters for it, written without torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from adapters.base import BaseProfile
from indexer.settings import Paths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HIDDEN, WIDE, LAYERS, VOCAB = 16, 32, 2, 40
CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
Tensors = dict[str, NDArray[np.float32]]


class WriteBase(Protocol):
    def __call__(
        self, name: str = "base", *, layers: int = LAYERS, hidden: int = HIDDEN, seed: int = 0
    ) -> Path: ...


class WriteAdapter(Protocol):
    def __call__(
        self, tensors: Tensors | None = None, name: str = "adapter", **config: Any
    ) -> Path: ...


@pytest.fixture
def write_base(tmp_path: Path) -> WriteBase:
    """Writes a folder that looks like a Llama to everything that does not run it."""

    def write(
        name: str = "base", *, layers: int = LAYERS, hidden: int = HIDDEN, seed: int = 0
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "max_position_embeddings": 128,
            "tie_word_embeddings": True,
        }
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
        save_file(_weights(layers, hidden, seed), folder / "model.safetensors")
        return folder

    return write


def _weights(layers: int, hidden: int, seed: int) -> Tensors:
    generator = np.random.default_rng(seed)
    shapes = {"model.embed_tokens": (VOCAB, hidden)}
    for layer in range(layers):
        shapes[f"model.layers.{layer}.self_attn.q_proj"] = (hidden, hidden)
        shapes[f"model.layers.{layer}.mlp.down_proj"] = (hidden, WIDE)
    return {
        f"{name}.weight": generator.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def base(write_base: WriteBase) -> BaseProfile:
    return BaseProfile.read(write_base())


@pytest.fixture
def tensors() -> Callable[..., Tensors]:
    """Makes the tensors of an adapter that fits the tiny base, but for what is asked."""
    return make_tensors


def make_tensors(
    layers: int = LAYERS, hidden: int = HIDDEN, rank: int = 4, seed: int = 1
) -> Tensors:
    generator = np.random.default_rng(seed)
    made: Tensors = {}
    for layer in range(layers):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        made[f"{stem}.lora_A.weight"] = generator.normal(size=(rank, hidden)).astype(np.float32)
        made[f"{stem}.lora_B.weight"] = generator.normal(size=(hidden, rank)).astype(np.float32)
    return made


@pytest.fixture
def write_adapter(tmp_path: Path) -> WriteAdapter:
    """Writes a PEFT folder; keyword arguments go into its config, None leaves a key out."""

    def write(tensors: Tensors | None = None, name: str = "adapter", **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        content = {
            "peft_type": "LORA",
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["q_proj"],
            **config,
        }
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / "adapter_config.json").write_text(json.dumps(kept), encoding="utf-8")
        save_file(
            make_tensors() if tensors is None else tensors, folder / "adapter_model.safetensors"
        )
        return folder

    return write


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "store")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Llama of two layers with random weights, a tokenizer and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.5,  # embeddings large enough for an adapter to decide a token
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer() -> "PreTrainedTokenizerBase":
    return make_tokenizer()


def make_tokenizer() -> "PreTrainedTokenizerBase":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )
