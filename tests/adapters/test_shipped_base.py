"""The shipped base takes composed prompts as it was made to: a marker is one token."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from transformers import AutoTokenizer

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from adapters.training.rendering import Rendering, Row, TokenRow, render
from adapters.verify import verify_adapter
from indexer.records import Passage, Sentence
from indexer.settings import Paths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
SHIPPED = sorted(path.parent for path in DEMO.glob("adapters/*/adapter.json"))


@pytest.fixture(scope="module")
def shipped_tokenizer() -> "PreTrainedTokenizerBase":
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(DEMO / "model")
    return loaded


def rendered(tokenizer: "PreTrainedTokenizerBase") -> TokenRow:
    texts = [f"Sentence number {number} stands here." for number in range(32)]
    spans = [Sentence(40 * number, 40 * number + len(text)) for number, text in enumerate(texts)]
    text = "\n".join(line.ljust(39) for line in texts)
    passage = Passage("c", "d.md", "D", (), 0, text, tuple(spans), 0.9)
    question = ({"role": "user", "content": "Which number?"},)
    row = Row("here:1", question, "[32] Sentence number 31 stands here.", (passage,))
    assert isinstance(tokenizer.eos_token_id, int)
    return render(
        row, Rendering("sentences", "", "", frozenset({tokenizer.eos_token_id})), tokenizer
    )


def test_every_marker_is_one_token(shipped_tokenizer: "PreTrainedTokenizerBase") -> None:
    tokens = rendered(shipped_tokenizer).tokens
    for number in range(1, 33):
        for marker in (f"[{number}]", f"[/{number}]"):
            assert shipped_tokenizer.convert_tokens_to_ids(marker) in tokens, marker


def test_an_answer_begins_with_its_marker_and_ends_with_the_end_token(
    shipped_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    row = rendered(shipped_tokenizer)
    answer = row.tokens[row.answer_start :]
    assert answer[0] == shipped_tokenizer.convert_tokens_to_ids("[32]")
    assert answer[-1] == shipped_tokenizer.eos_token_id


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_adapters_fit_the_shipped_base(folder: Path, tmp_path: Path) -> None:
    base = BaseProfile.read(DEMO / "model")
    assert verify_adapter(folder, base, 16).rank <= 16
    added = AdapterRegistry(Paths(tmp_path)).add(folder, base=base, max_rank=16)
    assert added.dataset_digest
    assert (folder / "adapter_model.safetensors").stat().st_size <= 1_000_000
