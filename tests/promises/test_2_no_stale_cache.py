"""Promise 2: no stale cache. After a swap the answer is that of an engine that has only started.

The question is in the engine's cache, under another version, before each swap.

Fails on vLLM when `AdapterSwitch` loads every version of a line from one folder under one name,
unloaded before: after the swap the words of both versions are mixed, and the fresh engine says
otherwise. Nothing else was tried.
"""

import pytest

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from indexer.settings import Paths
from service.settings import DEMO, ServiceSettings
from tests.live import LiveService
from tests.service.swapping import set_adapter

ONE, OTHER, TWIN = "support-style@1", "support-style@2", "twin@1"
QUESTION = "How long should I soak a new filter cartridge before fitting it?"

pytestmark = pytest.mark.vllm


@pytest.fixture
def twinned(live: LiveService) -> LiveService:
    """The weights of a version are also known under another name."""
    registry = AdapterRegistry(Paths(live.store))
    base = BaseProfile.read(ServiceSettings().base)
    added = registry.add(DEMO / "adapters" / "support-style-v1", "twin", base=base)
    assert added.label == TWIN
    return live


def answers(service: LiveService, *adapters: str) -> list[str]:
    """What each of them says to the same question, asked twice, in turn; then as it was."""
    said = []
    try:
        for adapter in adapters:
            set_adapter(service, adapter)
            first, again = (service.chat("support", QUESTION).json() for _ in range(2))
            assert first["dslm"]["adapter"] == again["dslm"]["adapter"] == adapter
            assert (
                first["choices"][0]["message"]["content"]
                == (again["choices"][0]["message"]["content"])
            )
            said.append(first["choices"][0]["message"]["content"])
    finally:
        set_adapter(service, ONE)
    return said


def test_what_a_swap_back_and_forth_answers_is_what_a_fresh_engine_answers(
    twinned: LiveService, request: pytest.FixtureRequest
) -> None:
    """The fresh engine is asked the other way round: there the cache holds nothing older."""
    one, other, back, twin, forth = answers(twinned, ONE, OTHER, ONE, TWIN, OTHER)
    assert one != other
    assert (one, other) == (back, forth)
    assert twin == one
    fresh: LiveService = request.getfixturevalue("own")
    assert answers(fresh, OTHER, TWIN, ONE) == [other, twin, one]
