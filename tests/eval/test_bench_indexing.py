"""The indexing bench counts what a program took, and says which peer could not be measured."""

import sys
import tarfile
from pathlib import Path

import pytest

from eval.bench import indexing_command
from eval.bench.indexing import (
    IndexingSettings,
    JobRun,
    Measured,
    _copy_documents,
    _spread,
    _write_domain,
    ratio,
)
from eval.bench.indexing_child import DidNotRun, Took, run_child
from eval.bench.indexing_peers import PEERS, Peer, PeerRun, run_peer
from eval.bench.indexing_raw import Raw
from indexer.domain import EmbedderSettings, load_domain
from indexer.errors import BadInput


def test_a_child_s_time_memory_and_output_are_counted(tmp_path: Path) -> None:
    code = "import time; s = b'x' * 60_000_000; x = sum(range(3_000_000)); time.sleep(1); print(7)"
    took = run_child([sys.executable, "-c", code], tmp_path)
    assert took.output == "7\n"
    assert took.seconds > 0.5
    assert 0.02 < took.cpu < took.seconds + 1
    assert took.peak_mb > 57


def test_a_child_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DidNotRun, match=r"ended with 1.*no such thing"):
        run_child([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path)


def test_a_child_is_free_of_the_limits_of_its_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = "import os; print(os.environ.get('OMP_NUM_THREADS'), os.environ['MINE'])"
    assert run_child([sys.executable, "-c", code], tmp_path, {"MINE": "x"}).output == "None x\n"


def test_every_peer_has_its_script() -> None:
    scripts = Path(indexing_command.__file__).parent / "peers"
    assert {f"{peer.name}_peer.py" for peer in PEERS} == {f.name for f in scripts.glob("*.py")}


def test_a_peer_that_cannot_run_is_an_error_with_the_reason(tmp_path: Path) -> None:
    python, peer = Path(sys.executable), Peer("txtai", ())
    with pytest.raises(DidNotRun, match="No module named 'txtai'"):
        run_peer(peer, python, tmp_path, tmp_path / "out", "none", 96, "default")


def test_documents_are_taken_from_all_over_a_folder_or_an_archive(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(10):
        (source / f"part{number}").mkdir(parents=True)
        (source / f"part{number}" / "page.md").write_text(f"# {number}\n", encoding="utf-8")
    packed = tmp_path / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(source, "docs")
    for place in (source, packed):
        settings = IndexingSettings(documents=place, files=5)
        copies = _copy_documents(settings, tmp_path / place.stem / "copies")
        texts = [copy.read_text(encoding="utf-8") for copy in copies]
        assert texts == [f"# {number}\n" for number in (0, 2, 4, 6, 8)]


def test_no_documents_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no Markdown files.*--documents"):
        _copy_documents(IndexingSettings(documents=tmp_path), tmp_path / "copies")


def test_more_files_than_there_are_is_all_of_them() -> None:
    assert _spread([Path("a"), Path("b")], 9) == [Path("a"), Path("b")]


def test_the_bench_s_domain_has_the_settings_that_were_asked_for(tmp_path: Path) -> None:
    embedder = EmbedderSettings(backend="openvino", dtype="int8")
    settings = IndexingSettings(documents=tmp_path, tokens=64, embedder=embedder)
    domain = load_domain(_write_domain(tmp_path / "domain", tmp_path, settings))
    assert (domain.chunking.tokens, domain.embedder) == (64, embedder)
    assert domain.documents.paths == [str(tmp_path)]


def _job(chunks: int, seconds: float, peak: float = 500.0, index: float = 0.0) -> JobRun:
    return JobRun(chunks, 3, "id", {}, index, Took(seconds, 2 * seconds, peak, ""))


def _measured() -> Measured:
    return Measured(
        jobs=[_job(1000, 10.0), _job(1000, 8.0, 700.0, 100.0)],
        raws=[Raw(110.0, 55.0, 500, 16, 2, "bf16"), Raw(125.0, 62.5, 500, 16, 2, "bf16")],
        unchanged=_job(1000, 1.5),
        one_changed=_job(1001, 2.5),
        small=_job(100, 2.0, 510.0, 10.0),
        small_files=3,
        files=30,
        megabytes=1.0,
        peers=[PeerRun("txtai", "default", 800, Took(32.0, 60.0, 900.0, "800"))],
        failed=[("haystack", "pip ended with 1")],
    )


def test_the_job_is_compared_with_the_model_of_its_own_round() -> None:
    wall, cpu = ratio(_measured())
    assert wall == pytest.approx((100 / 110 + 1.0) / 2)
    assert cpu == pytest.approx((50 / 55 + 1.0) / 2)


def test_the_tables_show_ratios_and_what_could_not_be_measured() -> None:
    speed, peers, again = indexing_command.grids(_measured())
    assert speed.rows[-1][1] == "0.955"
    assert peers.rows[1][-2:] == ("5.00x", "4.00x")
    assert peers.rows[2][0] == "haystack"
    assert "pip ended with 1" in peers.rows[2][-1]
    assert again.rows[0][1:] == ("1.50", "under 2 s")
    assert again.rows[2][1] == "600 / 500 = 1.20"


def test_an_unknown_peer_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"no peer 'milvus'"):
        indexing_command.indexing(peers="milvus")
