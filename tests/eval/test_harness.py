"""lm-evaluation-harness measures the service from its own environment, with no change to either."""

import json
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dslm import app
from eval.harness import HarnessRun, command_of, find_program, home, results_grid
from indexer.errors import BadInput
from tests.service.product import Product

TASK = """task: dslm_sayings
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["</s>"]
  max_gen_toks: 24
filter_list:
  - name: last-number
    filter:
      - function: regex
        regex_pattern: "(\\\\d+)"
        group_select: -1
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
RESULTS = {
    "results": {
        "sums": {
            "alias": "sums",
            "exact_match,strict-match": 0.25,
            "exact_match_stderr,strict-match": 0.1,
            "exact_match,flexible-extract": 0.5,
            "exact_match_stderr,flexible-extract": "N/A",
        }
    }
}


def _task(folder: Path) -> Path:
    """Two questions that an engine which repeats what is asked answers, and one it cannot."""
    rows = [("Say 6", "6"), ("Say 7", "7"), ("Say 8", "9")]
    text = "".join(json.dumps({"question": a, "answer": b}) + "\n" for a, b in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    file = folder / "task.yaml"
    file.write_text(TASK.format(rows=folder / "rows.jsonl"), encoding="utf-8")
    return file


def test_its_command_names_the_service_and_our_task(tmp_path: Path) -> None:
    file = _task(tmp_path)
    run = HarnessRun("support", "http://127.0.0.1:8080/", (str(file), "gsm8k"), 2, 10, 3)
    command = command_of("lm_eval", run, tmp_path / "out")
    told = dict(zip(command[1::2], command[2::2], strict=False))
    assert told["--model"] == "local-chat-completions"
    assert told["--model_args"] == (
        "model=support,base_url=http://127.0.0.1:8080/v1/chat/completions,"
        "num_concurrent=3,max_retries=3"
    )
    assert told["--tasks"] == "dslm_sayings,gsm8k"
    for words in (
        ["--include_path", str(tmp_path)],
        ["--num_fewshot", "2"],
        ["--limit", "10"],
        ["--output_path", str(tmp_path / "out")],
    ):
        at = command.index(words[0])
        assert command[at : at + 2] == words


@pytest.mark.parametrize(
    ("tasks", "text", "said"),
    [
        (("none.yaml",), None, "There is no none.yaml"),
        ((), None, "No task is named"),
        (("task.yaml",), "dataset_path: json\n", "names no task"),
    ],
)
def test_a_task_that_cannot_be_run_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tasks: tuple[str, ...],
    text: str | None,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(tasks[0]).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        command_of("lm_eval", HarnessRun("base", "http://x", tasks), tmp_path)


def test_without_a_program_the_remedy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="--install"):
        find_program()
    (home() / "bin").mkdir(parents=True)
    (home() / ".ready").touch()
    assert find_program() == str(tmp_path / "dslm" / "lm-eval" / "bin" / "lm_eval")


def test_results_are_shown_metric_by_metric(tmp_path: Path) -> None:
    file = tmp_path / "results_2.json"
    file.write_text(json.dumps(RESULTS), encoding="utf-8")
    assert results_grid([file], "base").rows == (
        ("sums", "exact_match", "strict-match", "0.2500", "0.1000"),
        ("sums", "exact_match", "flexible-extract", "0.5000", "-"),
    )
    with pytest.raises(BadInput, match="wrote no results"):
        results_grid([], "base")


def _program(folder: Path, script: str) -> None:
    """A program in lm_eval's place."""
    file = folder / "lm_eval"
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_what_it_fails_with_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _program(tmp_path, "echo starting; echo ValueError: no such task >&2; exit 3")
    asked = ["eval", "harness", "base", "--tasks", "none_such"]
    found = CliRunner().invoke(app, asked)
    assert isinstance(found.exception, BadInput)
    assert "ended with 3: ValueError: no such task" in str(found.exception)
    dry = CliRunner().invoke(app, [*asked, "--dry-run"])
    assert dry.exit_code == 0
    assert "--tasks none_such" in dry.output


def _in_reach() -> bool:
    try:
        find_program()
    except BadInput:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not _in_reach(), reason="lm_eval is not here: dslm eval harness --install")
def test_lm_eval_measures_the_service_as_it_is(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A domain with its documents, over an engine that says again what it was asked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    task, out = str(_task(tmp_path)), str(tmp_path / "out")
    asked = ["eval", "harness", "base", "--tasks", task, "--url", product.url, "--out", out]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    assert "| dslm_sayings | exact_match | last-number | 0.6667 |" in found.output
    assert len(list((tmp_path / "out").rglob("samples_*.jsonl"))) == 1
