"""Counting tokens: as the engine's own tokenizer does, and without what takes seconds to import."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from adapters.counting import load_tokenizer
from tests.live import ROOT

MODEL = ROOT / "deploy" / "demo" / "model"
TEXTS = ["", " a", "Täglich 3 x 5 mg", "<|user|> Hi</s>", "\n\n\t", "x" * 500, "漢字 🌹"]


@pytest.mark.parametrize("name", ["TokenizersBackend", "PreTrainedTokenizerFast", "LlamaTokenizer"])
def test_a_tokenizer_is_the_one_that_transformers_would_choose(tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(MODEL, base, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": name}))
    ours, theirs = load_tokenizer(str(base)), AutoTokenizer.from_pretrained(str(base))
    assert type(ours) is type(theirs)
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert ours.chat_template == theirs.chat_template
    assert ours.all_special_tokens == theirs.all_special_tokens


def test_the_demonstration_base_is_counted_without_the_whole_of_transformers() -> None:
    code = (
        "import sys; from adapters.counting import TokenCounter;"
        f"TokenCounter({str(MODEL)!r}); sys.exit('transformers.models.auto' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_service_listens_before_torch_is_imported() -> None:
    code = "import sys, service.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
