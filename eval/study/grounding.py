"""Whether the answers of a study rest on what they cite: by words, by an NLI model, by a judge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eval.client import Client, ServiceAway, ServiceRefused
from eval.progress import phase, watched
from eval.report import Grid
from eval.scoring.grounding import Claim, Marker, Pair, Supports, claims, ground
from eval.stats import Share
from eval.study.results import Record
from indexer.errors import BadInput

_ASKED: Final = (
    "A text and a claim follow. Does the text by itself say that the claim is true? Answer with yes"
    " or no alone.\n\nText: {premise}\n\nClaim: {claim}"
)
_VERDICT: Final = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_BATCH: Final = 32


def grounding_grid(name: str, records: Sequence[Record], supports: Supports) -> Grid:
    """A line for each condition. Refused answers claim nothing, and count as refused alone."""
    rows = []
    for condition in dict.fromkeys(one.condition for one in records):
        own = [one for one in records if one.condition == condition]
        given = [one for one in own if not one.refused]
        found = ground([_claims(one) for one in given], supports)
        rows.append(
            (
                condition,
                str(Share.of(one.refused for one in own)),
                str(found.cited),
                str(found.recall),
                str(found.precision),
                str(Share(found.grounded.total - found.grounded.hits, found.grounded.total)),
                str(found.failed),
            )
        )
    head = (
        "condition",
        "refused",
        "claims with a citation",
        "claims supported (citation recall)",
        "citations right (precision)",
        "answers with a claim unsupported",
        "verdicts failed",
    )
    return Grid(f"Groundedness, {name}", head, tuple(rows))


def _claims(record: Record) -> list[Claim]:
    markers = [Marker(one.start, one.end, one.quote) for one in record.cited]
    return claims(record.answer, markers)


def by_nli(place: str) -> Supports:
    """By a cross-encoder trained on entailment, from a folder or the hub. BadInput for another."""
    from sentence_transformers import CrossEncoder

    try:
        encoder = CrossEncoder(place, max_length=512)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The model {place} cannot be loaded: {str(error).splitlines()[0]}",
            "Give `--nli` a folder that holds it, or a name that the model hub has",
        ) from error
    named: Mapping[int, str] = encoder.config.id2label
    entailing = [at for at, label in named.items() if label.lower().startswith("entail")]
    if len(entailing) != 1:
        raise BadInput(
            f"The model {place} does not say which of its labels is entailment: {dict(named)}",
            "Use one trained for natural language inference, such as nli-deberta-v3-base",
        )

    def supports(pairs: Sequence[Pair]) -> list[bool | None]:
        if not pairs:
            return []
        found = encoder.predict(list(pairs), batch_size=_BATCH, show_progress_bar=False)
        return [bool(scores.argmax() == entailing[0]) for scores in found]

    return supports


def by_judge(url: str, model: str, key: str | None, concurrency: int) -> Supports:
    """By what a model behind an OpenAI endpoint says; None where it gives no yes or no."""

    def supports(pairs: Sequence[Pair]) -> list[bool | None]:
        return asyncio.run(_judged(url, model, key, concurrency, pairs)) if pairs else []

    return supports


async def _judged(
    url: str, model: str, key: str | None, concurrency: int, pairs: Sequence[Pair]
) -> list[bool | None]:
    async with Client(url, concurrency=concurrency, key=key) as client:
        with phase(f"asking {model} for {len(pairs)} verdicts", len(pairs)) as advance:
            asked = [watched(_verdict(client, model, pair), advance) for pair in pairs]
            return list(await asyncio.gather(*asked))


async def _verdict(client: Client, model: str, pair: Pair) -> bool | None:
    """A refusal, a silence or a speech is a failure, and is counted as one."""
    premise, claim = pair
    said = _ASKED.replace("{claim}", claim).replace("{premise}", premise)
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
    try:
        answer = await client.chat(model, [{"role": "user", "content": said}], options)
    except (ServiceAway, ServiceRefused):
        return None
    found = _VERDICT.match(answer.text)
    return found[1].lower() == "yes" if found else None


def model_name(place: str) -> str:
    """A folder by its last name: where it lies says nothing."""
    return Path(place).name
