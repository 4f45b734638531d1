"""A part of `make fuzz`: calls by the OpenAPI document, and what comes back is described there."""

import shutil
from pathlib import Path

import pytest

from tests.service.fuzz import fuzz, short_jobs
from tests.service.product import running

CALLS = 400


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of schemathesis and of what it sends on purpose
def test_no_call_that_the_document_allows_or_forbids_is_answered_otherwise(
    indexed: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"  # what it makes there is no other test's business
    shutil.copytree(indexed[0], store)
    with running(store, indexed[1]) as product, short_jobs(product):
        tally = fuzz(product, CALLS)
    assert tally.failures == {}
    assert tally.calls > CALLS // 4
    assert {200, 400, 404} <= set(tally.statuses)
    assert max(tally.statuses) < 500
