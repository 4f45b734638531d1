"""What a report says besides the score is what the records say."""

from pathlib import Path
from typing import Any

import pytest

from eval.report import Grid
from eval.scoring.bertscore import BertScoreSettings, bert_scores
from eval.study.measures import further
from eval.study.report import report
from eval.study.results import Record
from eval.study.spec import Study
from tests.eval.scoring.test_bertscore import BASELINE, EXPECTED, SAID, _bert
from tests.eval.study.records import record


def _study(**task: Any) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "tasks": [{"name": "t", "rows": __file__, **task}],
            "conditions": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}],
        }
    )


def _grids(study: Study, records: list[Record]) -> dict[str, Grid]:
    return {one.title: one for one in further(study, study.tasks[0], records)}


def test_labels_have_all_three_averages_and_what_was_none() -> None:
    said = [("x", "x"), ("x", "x"), ("x", "y"), ("y", "y"), ("y", None), ("z", "x")]
    study = _study(kind="label")
    records = [
        record("a", str(n), expected=wanted, found=found, score=float(wanted == found))
        for n, (wanted, found) in enumerate(said)
    ]
    grid = _grids(study, records)["As a classification"]
    # x: P 2/3, R 2/3; y: P 1/2, R 1/2; z: none. Micro: 3 of 5 that were labels, 3 of 6.
    assert grid.rows == (
        (
            "a",
            "0.500",
            "16.7%",
            "0.600 / 0.500 / 0.545",
            "0.389 / 0.389 / 0.389",
            "0.500 / 0.500 / 0.500",
        ),
    )


def test_how_many_stopped_and_refused_is_told_with_the_parts() -> None:
    study = _study(kind="span")
    records = [
        record("a", "1", parts={"exact": 1.0}),
        record("a", "2", parts={"exact": 0.0}, finish_reason="length"),
        record("b", "1", parts={"exact": 0.0}, refused=True),
    ]
    grid = _grids(study, records)["Besides"]
    assert grid.head == ("condition", "stopped by itself", "refused", "exact")
    assert [row[1][:10] for row in grid.rows] == ["0.50 (1/2;", "1.00 (1/1;"]
    assert [row[2][:4] for row in grid.rows] == ["0.00", "1.00"]
    assert [row[3][:5] for row in grid.rows] == ["0.500", "0.000"]


def test_bertscore_stands_in_the_report_with_its_name(tmp_path: Path) -> None:
    model = _bert(tmp_path)
    (tmp_path / "baseline.tsv").write_text(BASELINE, encoding="utf-8")
    told = {"model": str(model), "layer": 2, "baseline": tmp_path / "baseline.tsv"}
    study = _study(kind="text", bertscore=told)
    records = [
        record("a", str(n), answer=said, expected=wanted)
        for n, (said, wanted) in enumerate(zip(SAID, EXPECTED, strict=True))
    ]
    settings = BertScoreSettings(str(model), 2, baseline=tmp_path / "baseline.tsv")
    found = bert_scores(SAID, EXPECTED, settings)
    assert found.rescaled is not None
    (title,) = [name for name in _grids(study, records) if name.startswith("BERTScore")]
    assert title == f"BERTScore, {found.name}"
    (row,) = _grids(study, records)[title].rows
    for cell, values in ((row[3], found.raw), (row[4], found.rescaled)):
        assert float(cell.split()[0]) == pytest.approx(
            sum(one.f1 for one in values) / len(values), abs=5e-4
        )
    assert title in report(study, records)
