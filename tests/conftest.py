"""What every test lives with: few threads, no hub, no settings of the person who runs them."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.live import LiveService

# Before torch is imported: on a small machine spinning threads cost more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in [name for name in os.environ if name.startswith("DSLM_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator["LiveService"]:
    """The example domains behind `dslm serve`: one service with real vLLM for the whole run."""
    from tests.live import LiveService

    service = LiveService(tmp_path_factory.mktemp("live") / "store").start()
    try:
        yield service.ready()
    finally:
        code = service.stop()
    assert code == 0, service.log()
