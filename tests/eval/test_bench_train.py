"""The training bench: rows of many lengths, a fair peer, and ratios of paired rounds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.training.rendering import TokenRow, read_rows
from eval.bench.__main__ import app
from eval.bench.train import BARE, OURS, Measured, Stored, TrainBench, grids, write_rows
from eval.bench.train_child import Job, Took, _batches, settings_of
from indexer.errors import BadInput


@pytest.fixture
def bench(tmp_path: Path) -> TrainBench:
    rows = [json.dumps({"text": f"text {n}", "label": f"label {n % 3}"}) for n in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return TrainBench(tmp_path, "base", rows=30, shots=3)


def test_rows_show_none_to_all_of_the_examples_and_the_same_by_seed(
    bench: TrainBench, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_rows(bench, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    rows = read_rows(tmp_path / "a")
    assert len(rows) == 30
    assert {len(row.messages) for row in rows} == {1, 3, 5, 7}
    assert all(row.answer.startswith("label ") for row in rows)


def test_the_peer_learns_the_same_answers_once_each() -> None:
    rows = [TokenRow(tuple(range(10, 13 + n)), 2 + n) for n in range(5)]
    learned, seen = [], 0
    for tokens, mask, labels in _batches(rows, 2, 1):
        assert tokens.shape == mask.shape == labels.shape
        seen += int(mask.sum())
        learned += labels[labels != -100].tolist()
    assert seen == sum(len(row.tokens) for row in rows)
    answers = [token for row in rows for token in row.tokens[row.answer_start :]]
    assert sorted(learned) == sorted(answers)


def test_both_are_told_the_same_settings(tmp_path: Path) -> None:
    job = Job("base", "rows", "out", "qlora", 8, 4, 1e-3, 2, 5)
    settings = settings_of(job)
    assert (settings.method, settings.rank, settings.batch) == ("qlora", 8, 4)
    assert (settings.epochs, settings.steps, settings.threads) == (1.0, None, 2)


def test_ratios_are_of_each_round_and_storing_is_told_by_the_megabyte(bench: TrainBench) -> None:
    ours = [Took(1000, 1.0, 900, 600, 5.0, 1.0), Took(1000, 2.0, 900, 600, 5.0, 1.0)]
    bare = [Took(1000, 2.0, 1200, 600, 5.0, 1.1), Took(1000, 4.0, 1200, 600, 5.0, 1.1)]
    speed, stored = grids(bench, Measured({OURS: ours, BARE: bare}, Stored(2.0, 0.01, 0.05)))
    assert "30 rows of 0 to 3 examples, 1000 tokens" in speed.title
    assert [row[1] for row in speed.rows] == [
        "750 (500 to 1000)",
        "375 (250 to 500)",
        "2.00 (2.00 to 2.00)",
    ]
    assert speed.rows[2][2:4] == ("0.75 (0.75 to 0.75)", "0.50 (0.50 to 0.50)")
    assert stored.rows == (("verified", "10.0", "5.00"), ("verified and stored", "50.0", "25.00"))


@pytest.mark.parametrize(
    ("options", "words"), [(["--method", "dpo"], "no method 'dpo'"), ([], r"no train\.jsonl")]
)
def test_what_cannot_be_compared_is_named(options: list[str], words: str, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["train", "--data", str(tmp_path), *options])
    assert isinstance(told.exception, BadInput)
    with pytest.raises(BadInput, match=words):
        raise told.exception
