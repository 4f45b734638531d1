"""Asks an engine about an adapter that it has just loaded, before anybody else does.

vLLM says 200 to adapters that it applies wrongly or not at all. What the files do not show, the
answers do: the adapter's log-probabilities must differ from the base's, and be those that were
computed where the version was made.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from adapters.fingerprint import PROMPTS, Reading, read
from adapters.manifest import AdapterManifest
from service.engines.engine import COMPLETIONS, Engine
from service.errors import AdapterUnfit, EngineRejected, Unavailable
from service.telemetry import EngineMeters

log = logging.getLogger("dslm.probe")
Logprobs = list[list[float]]


class Probe:
    """Asks once for each version and life of the engine: its files are compared at every load."""

    def __init__(self, engine: Engine, meters: EngineMeters, seconds: float) -> None:
        self._engine = engine
        self._meters = meters
        self._seconds = seconds
        self._passed: set[str] = set()

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
        prompts = list(known.prompts if known else PROMPTS)
        try:
            base, adapter = await asyncio.gather(
                self._ask(self._engine.base_name, prompts * 2), self._ask(name, prompts)
            )
        except AdapterUnfit:
            raise
        except EngineRejected as error:  # of values that are not finite, say
            raise unfit(manifest, f"the engine says {error.message!r}") from error
        count = len(prompts)
        try:
            return read(base[:count], base[count:], adapter, known)
        except ValueError:
            fault = "the engine counts other tokens in its prompts than were asked"
            raise unfit(manifest, fault) from None

    async def _ask(self, called: str, prompts: Sequence[Any]) -> Logprobs:
        """The log-probability of each prompt's tokens but the first."""
        payload = {
            "model": called,
            "prompt": [list(one) if isinstance(one, tuple) else one for one in prompts],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
        }
        answer = await self._engine.chat(payload, COMPLETIONS)
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [_of_prompt(choice.get("prompt_logprobs")) for choice in choices]


def _of_prompt(told: Any) -> list[float]:
    """vLLM says of each place `{token id: {"logprob": ...}}`, and null of the first."""
    if not told:
        raise AdapterUnfit(
            "The engine tells no log-probabilities of prompts, so adapters cannot be probed",
            "Serve it by vLLM, or set DSLM_PROBE_ADAPTERS=false",
        )
    return [next(iter(place.values()))["logprob"] for place in told[1:]]


def unfit(manifest: AdapterManifest, fault: str) -> AdapterUnfit:
    """What is said of an adapter that was loaded and is unloaded again."""
    return AdapterUnfit(
        f"The adapter {manifest.label} is not served: {fault}",
        "Train it again or longer on this base, or add it again from what was trained",
    )
