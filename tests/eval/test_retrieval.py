"""The public sets are read in BEIR's form, ranked as answers are, and judged by their aims."""

import gzip
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from eval import retrieval as task
from eval.retrieval import Line, grid, measure
from eval.retrieval_sets import read_pairs, read_set
from indexer.errors import BadInput
from tests.indexer.hash_embedder import HashEmbedder


def _lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sets of the right form; the words of each question stand in its document."""
    for name in ("scifact", "limit_small"):
        home = tmp_path / name
        (home / "qrels").mkdir(parents=True)
        corpus = [
            {"_id": f"d{n}", "title": word, "text": f"about {word}"}
            for n, word in enumerate(("kettles", "toasters", "fridges"))
        ]
        text = _lines(corpus).encode()
        if name == "scifact":
            (home / "corpus.jsonl.gz").write_bytes(gzip.compress(text))
        else:
            (home / "corpus.jsonl").write_bytes(text)
        asked = [{"_id": "q1", "text": "toasters"}, {"_id": "q2", "text": "unused"}]
        (home / "queries.jsonl").write_text(_lines(asked), encoding="utf-8")
        judged = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n"
        (home / "qrels" / "test.tsv").write_text(judged, encoding="utf-8")
    (tmp_path / "stsbenchmark").mkdir()
    pairs = [
        {"sentence1": "a kettle", "sentence2": second, "score": score}
        for second, score in (("a kettle", 5.0), ("the kettle", 3.0), ("toast", 0.0))
    ]
    (tmp_path / "stsbenchmark" / "test.jsonl").write_text(_lines(pairs), encoding="utf-8")
    return tmp_path


class Loaded(HashEmbedder):
    device = "cpu"


def test_only_judged_questions_and_positive_grades_count(folder: Path) -> None:
    found = read_set(folder / "scifact")
    assert found.documents == (
        "kettles about kettles",
        "toasters about toasters",
        "fridges about fridges",
    )
    assert (found.questions, found.judged) == (("toasters",), ({1: 1},))
    assert read_pairs(folder / "stsbenchmark" / "test.jsonl").scores == (5.0, 3.0, 0.0)


def test_a_missing_set_says_which_folder_is_wanted(folder: Path) -> None:
    (folder / "scifact" / "queries.jsonl").unlink()
    with pytest.raises(BadInput, match=r"queries\.jsonl.*--data"):
        read_set(folder / "scifact")


def test_everything_is_measured_and_a_second_run_embeds_nothing(
    folder: Path, tmp_path: Path
) -> None:
    first, second = Loaded(), Loaded()
    cache = tmp_path / "cache"
    found = measure(folder, "all-MiniLM-L6-v2", cast(Any, first), cache)
    assert measure(folder, "all-MiniLM-L6-v2", cast(Any, second), cache) == found
    assert first.embedded > 0
    assert second.embedded == 0
    values = {(line.task, line.how, line.metric): line.value for line in found}
    for name in ("scifact", "limit_small"):
        for how in task.MODES:
            assert values[name, how, "nDCG@10"] == 1.0
    assert values["stsbenchmark", "cosine", "Spearman"] == pytest.approx(1.0)
    assert len(found) == 2 * 3 * 4 + 1


def test_another_set_in_beirs_form_is_measured_beside(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder / "scifact", tmp_path / "nfcorpus")
    found = measure(folder, "any", cast(Any, Loaded()), None, [other])
    own = [line for line in found if line.task == "nfcorpus"]
    assert {line.metric for line in own} == {"nDCG@10", "R@100", "MRR@10"}
    assert all(line.value == 1.0 and line.aim is None for line in own)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q1\td9\t1", "judges d9 for q1"),
        ("q9\td1\t1", "judges d1 for q9"),
        ("q1\td1", "is no judgement"),
        ("q1\td1\thigh", "is no judgement"),
    ],
)
def test_a_judgement_that_cannot_be_read_is_named(folder: Path, line: str, said: str) -> None:
    file = folder / "scifact" / "qrels" / "test.tsv"
    file.write_text(f"query-id\tcorpus-id\tscore\n{line}\n", encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        read_set(folder / "scifact")


def test_a_number_outside_its_aim_is_missed_and_says_so() -> None:
    within = Line("scifact", "dense", "nDCG@10", 0.6442, (0.6, 0.69), ".6451", (0.6401, 0.6501))
    outside = Line("scifact", "dense", "nDCG@10", 0.6399, None, ".6451", (0.6401, 0.6501))
    free = Line("scifact", "dense", "R@10", 0.1, None, "", None)
    assert [line.missed for line in (within, outside, free)] == [False, True, False]
    rows = grid([within, outside, free], "title").rows
    assert [row[-1] for row in rows] == ["met", "MISSED", ""]
    assert rows[0][-2] == "0.6401 to 0.6501"


def test_a_fusion_must_beat_both_of_its_halves() -> None:
    means = {
        (how, metric): 0.7 if how == "BM25" else 0.6
        for how in task.MODES
        for metric in ("nDCG@10", "R@100")
    }
    aims = task._scifact_aims(means, "all-MiniLM-L6-v2")
    assert aims["hybrid, rrf", "nDCG@10"][1] == (0.7001, 1.0)
    assert aims["dense", "nDCG@10"][1] == (0.6401, 0.6501)
    assert ("dense", "nDCG@10") not in task._scifact_aims(means, "another")
