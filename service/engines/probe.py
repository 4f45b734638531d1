"""Asks an engine about an adapter that it has just loaded, before anybody else does.

vLLM says 200 to adapters that it applies wrongly or not at all. What the files do not show, the
answers do: the adapter's log-probabilities must differ from the base's, and be those that were
computed where the version was made.

Asked is what follows a prompt, never `prompt_logprobs`: with adapters enabled vLLM 0.32's CPU build
dies of these as soon as two requests are computed together.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from adapters.fingerprint import LONGEST, PROMPTS, Reading, asked_of, read
from adapters.manifest import AdapterManifest
from service.engines.engine import COMPLETIONS, Engine
from service.errors import AdapterUnfit, EngineRejected, Unavailable
from service.telemetry import EngineMeters

log = logging.getLogger("dslm.probe")
TOKENIZE = "/tokenize"
Asked = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]


class Probe:
    """Asks once for each version and life of the engine: its files are compared at every load."""

    def __init__(self, engine: Engine, meters: EngineMeters, seconds: float) -> None:
        self._engine = engine
        self._meters = meters
        self._seconds = seconds
        self._passed: set[str] = set()
        self._usual: Asked | None = None

    async def check(self, name: str, manifest: AdapterManifest) -> None:
        """AdapterUnfit says what is wrong with it; Unavailable if the engine does not answer."""
        if manifest.digest in self._passed:
            return
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._seconds):
                reading = await self._reading(name, manifest)
        except TimeoutError as error:
            message = f"The engine did not answer about {manifest.label} in {self._seconds:g} s"
            raise Unavailable(message, "Try again", retry_after=5) from error
        took = time.perf_counter() - began
        self._meters.probes.observe(took)
        log.info("%s probed in %.0f ms: %s", manifest.label, 1000 * took, reading)
        if fault := reading.fault:
            raise unfit(manifest, fault)
        self._passed.add(manifest.digest)

    def engine_ended(self) -> None:
        """The next engine must show it anew."""
        self._passed.clear()

    async def _reading(self, name: str, manifest: AdapterManifest) -> Reading:
        """Both at once, and the base twice, so that all are computed under the same load."""
        known = manifest.fingerprint
        prompts, tokens = (known.prompts, known.tokens) if known else await self._unknown()
        count, base_name = len(prompts), self._engine.base_name
        try:
            base, adapter = await asyncio.gather(
                self._ask(base_name, prompts * 2, tokens), self._ask(name, prompts, tokens)
            )
        except AdapterUnfit:
            raise
        except EngineRejected as error:  # of values that are not finite, say
            raise unfit(manifest, f"the engine says {error.message!r}") from error
        return read(base[:count], base[count:], adapter, known)

    async def _unknown(self) -> Asked:
        """What is asked of one without a fingerprint: fixed texts, in the base's tokens."""
        if self._usual is None:
            payloads = [{"model": self._engine.base_name, "prompt": text} for text in PROMPTS]
            answers = [await self._engine.chat(payload, TOKENIZE) for payload in payloads]
            self._usual = asked_of([answer["tokens"] for answer in answers], 2 * LONGEST)
        return self._usual

    async def _ask(
        self, called: str, prompts: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[list[float]]:
        """The log-probability of each token after each prompt."""
        payload = {
            "model": called,
            "prompt": [list(prompt) for prompt in prompts],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "logprob_token_ids": list(tokens),
            "return_tokens_as_token_ids": True,
        }
        answer = await self._engine.chat(payload, COMPLETIONS)
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [_values(choice.get("logprobs"), tokens) for choice in choices]


def _values(told: Any, tokens: Sequence[int]) -> list[float]:
    """vLLM says `{"top_logprobs": [{"token_id:7": -1.5, ...}]}` of the one token it wrote."""
    try:
        said = told["top_logprobs"][0]
        return [float(said[f"token_id:{token}"]) for token in tokens]
    except (KeyError, IndexError, TypeError) as error:
        raise AdapterUnfit(
            "The engine does not tell how probable a token is, so adapters cannot be probed",
            "Serve it by vLLM 0.32, or set DSLM_PROBE_ADAPTERS=false",
        ) from error


def unfit(manifest: AdapterManifest, fault: str) -> AdapterUnfit:
    """What is said of an adapter that was loaded and is unloaded again."""
    return AdapterUnfit(
        f"The adapter {manifest.label} is not served: {fault}",
        "Train it again or longer on this base, or add it again from what was trained",
    )
