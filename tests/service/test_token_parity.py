"""An adapter is trained on the very tokens that the engine sees when it answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.base import BaseProfile
from adapters.lookup import Lookup, open_lookup
from adapters.release import ReleaseStore
from adapters.training.lessons import rendering_of
from adapters.training.rendering import Rendering, Row, render
from adapters.training.settings import TrainSettings
from adapters.training.shots import Shots, ShotSettings
from indexer.domain import Domain, load_domain
from indexer.settings import Paths
from service.settings import DEMO
from tests.live import LiveService
from tests.service.product import Product, running

pytestmark = pytest.mark.vllm
DOMAINS = ("support", "legal", "clinic")
EACH = 23  # questions of a domain, each asked in three ways: 207 prompts
KINDS = {
    "plain": {"passages": False, "demonstrations": False},
    "icl": {"passages": False},
    "rag": {"demonstrations": False},
}


@pytest.fixture(scope="module")
def beside(live: LiveService) -> Iterator[Product]:
    """Another service over the same releases, whose engine keeps what it is asked."""
    with running(live.store, DEMO / "domains") as product:
        yield product


def questions(domain: str) -> list[str]:
    """Held-out ones: none is among the domain's solved examples."""
    lines = (DEMO / "domains" / domain / "questions.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines][:EACH]


@contextmanager
def lookup_of(live: LiveService, domain: str) -> Iterator[Lookup]:
    paths = Paths(live.store)
    release = ReleaseStore(paths).live(domain)
    assert release is not None
    with open_lookup(paths, release) as lookup:
        yield lookup


def settings_of(domain: Domain, kind: str) -> TrainSettings:
    """As `dslm adapters train` sets them for this domain."""
    return TrainSettings(
        base=str(DEMO / "model"),
        rows=Path(),
        out=Path(),
        name="parity",
        prompt_format=domain.answer.prompt_format,
        system=domain.answer.system,
        refusal=domain.answer.refusal,
        answer_tokens=None if kind == "plain" else domain.answer.max_tokens,
    )


def posed(lookup: Lookup, rendering: Rendering, rows: list[Row], kind: str) -> list[Row]:
    """What `Shots` shows; of solved examples the most that a seed draws, as the service does."""
    release = lookup.release.retrieval
    wanted = ShotSettings(
        demonstrations=release.demonstrations if kind == "icl" else 0,
        passages=release.passages if kind == "rag" else 0,
    )
    shown: dict[str, Row] = {}
    for seed in range(40):
        left = [row for row in rows if not is_full(shown.get(row.place), wanted.demonstrations)]
        if not left:
            break
        for row in Shots(lookup, rendering, replace(wanted, seed=seed)).pose(left):
            before = shown.get(row.place, row)
            shown[row.place] = max(before, row, key=lambda one: len(one.demonstrations))
    return [shown[row.place] for row in rows]


def is_full(row: Row | None, wanted: int) -> bool:
    return row is not None and len(row.demonstrations) == wanted


@pytest.mark.parametrize("name", DOMAINS)
def test_training_prompts_are_token_by_token_what_the_engine_is_sent(
    live: LiveService, beside: Product, name: str
) -> None:
    """For the same question and release: plain, with solved examples, and with passages."""
    from transformers import AutoTokenizer

    domain, base = load_domain(DEMO / "domains" / name), BaseProfile.read(DEMO / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(base.folder)
    end = frozenset({tokenizer.eos_token_id})
    rows = [
        Row(f"q:{at}", ({"role": "user", "content": asked},), "It does.")
        for at, asked in enumerate(questions(name))
    ]
    shown = 0
    with lookup_of(live, name) as lookup, httpx.Client(base_url=live.engine_url) as engine:
        for kind, switches in KINDS.items():
            rendering = rendering_of(settings_of(domain, kind), base, end)
            made = posed(lookup, rendering, rows, kind) if kind != "plain" else rows
            for row in made:
                trained = render(row, rendering, tokenizer)
                served = sent(beside, name, row.messages[-1]["content"], switches)
                body = {"model": "base", "messages": served, "add_generation_prompt": True}
                seen = engine.post("/tokenize", json=body).raise_for_status().json()["tokens"]
                assert list(trained.tokens[: trained.answer_start]) == seen, (kind, row.place)
                shown += len(row.demonstrations) + len(row.passages)
    assert shown > 3 * EACH


def sent(product: Product, domain: str, question: str, switches: dict[str, Any]) -> Any:
    """The messages that this service asks its engine with."""
    product.engine.asked.clear()
    answer = product.chat(domain, question, dslm={**switches, "mode": "generate"})
    assert answer.status_code == 200, answer.text
    return product.engine.asked[-1]["messages"]
