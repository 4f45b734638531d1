"""Memory does not grow with the corpus: what does is on the disk."""

from pathlib import Path

import pytest

from indexer.settings import Paths
from tests.indexer.conftest import write_domain
from tests.indexer.job.children import finish, start, write_corpus


@pytest.mark.slow
def test_ten_times_the_files_take_hardly_more_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 200):
        folder = write_domain(tmp_path / f"{count}" / "kitchen")
        write_corpus(folder, count)
        code, result, err = finish(start(folder, Paths(tmp_path / f"store{count}")))
        assert code == 0, err
        peaks.append(result["memory"])
    assert peaks[1] <= 1.3 * peaks[0], peaks
