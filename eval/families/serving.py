"""A family's tiny base behind `dslm serve`: what vLLM makes of its adapter, beside peft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from adapters.fingerprint import Fingerprint, Reading, read
from eval.client import Client
from eval.families.making import ANSWER, QUESTIONS, RANK, SYSTEM, Made
from eval.running import Running, running_service, wait_ready

DOMAIN: Final = f"""
title = "Colours"
adapter = "tiny@1"

[answer]
system = "{SYSTEM}"
max_tokens = 32
"""
DOCUMENT: Final = "# Colours\n\nThe sky is blue. Grass is green.\n"
_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Served:
    """`said`: the answers to the rows that were learned, through the service."""

    reading: Reading
    said: tuple[str, ...]

    @property
    def by_heart(self) -> int:
        """How many of them are what was learned; Mistral's template sets a blank before it."""
        return sum(text.strip() == ANSWER for text in self.said)


async def serve(made: Made, folder: Path, options: str, report: Callable[[str], None]) -> Served:
    """Starts the service over the tiny base and asks; DidNotStart says what vLLM printed."""
    domain = folder / "domains" / "colours"
    (domain / "documents").mkdir(parents=True)
    (domain / "domain.toml").write_text(DOMAIN, "utf-8")
    (domain / "documents" / "colours.md").write_text(DOCUMENT, "utf-8")
    settings = {
        "DSLM_BASE": str(made.base.folder),
        "DSLM_DOMAINS": str(domain.parent),
        "DSLM_ADAPTERS": str(made.adapter.parent),
        "DSLM_MAX_LORA_RANK": str(RANK),
        "DSLM_ENGINE_ARGUMENTS": options,
    }
    with running_service(folder, settings) as service:
        async with Client(service.url) as client:
            await wait_ready(client, service.process, service.log, report=report)
            said = [await _said(client, question) for question in QUESTIONS]
        return Served(_compared(service, made), tuple(said))


async def _said(client: Client, question: str) -> str:
    """Without passages and solved examples, as the rows were."""
    options = {"temperature": 0, "dslm": {"passages": False, "demonstrations": False}}
    answer = await client.chat("colours", [{"role": "user", "content": question}], options)
    return answer.text


def _compared(service: Running, made: Made) -> Reading:
    """Asked of the engine itself, as the service's probe does."""
    known = made.card.fingerprint
    assert known is not None, "training leaves one"
    with httpx.Client(base_url=service.engine_url, timeout=_SECONDS, trust_env=False) as engine:
        cards = engine.get("/v1/models").raise_for_status().json()["data"]
        base, adapter = (
            next(card["id"] for card in cards if bool(card["parent"]) == is_adapter)
            for is_adapter in (False, True)
        )
        first, again, third = (_logprobs(engine, name, known) for name in (base, base, adapter))
    return read(first, again, third, known)


def _logprobs(engine: httpx.Client, name: str, known: Fingerprint) -> list[list[float]]:
    body: dict[str, Any] = {
        "model": name,
        "prompt": [list(prompt) for prompt in known.prompts],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 1,
        "logprob_token_ids": list(known.tokens),
        "return_tokens_as_token_ids": True,
    }
    answer = engine.post("/v1/completions", json=body).raise_for_status().json()
    said = [choice["logprobs"]["top_logprobs"][0] for choice in answer["choices"]]
    return [[one[f"token_id:{token}"] for token in known.tokens] for one in said]
