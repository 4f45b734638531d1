"""A study: asked once, resumed after a kill, compared honestly."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from aiohttp import web

from eval.study.examples import choose_examples, turns
from eval.study.report import report
from eval.study.results import Record, Results
from eval.study.run import questions, run_study, scores
from eval.study.spec import Study, read_study
from eval.study.tasks import open_task
from indexer.errors import BadInput, StoreError
from indexer.records import Vectors
from tests.indexer.hash_embedder import HashEmbedder


def embed(texts: list[str]) -> Vectors:
    return HashEmbedder().embed_symmetric(texts)


def write(folder: Path, **changes: Any) -> Path:
    """A study of one task with twelve sums, and a pool of others."""
    folder.mkdir(exist_ok=True)
    sums = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(40)]
    for name, rows in (("rows", sums[:12]), ("pool", sums[8:])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    told = {
        "name": "sums",
        "tasks": [{"name": "plus", "kind": "number", "rows": "rows.jsonl", "pool": "pool.jsonl"}],
        "conditions": [
            {"name": "knows", "model": "knows", "cost_in": 2.0, "cost_out": 8.0},
            {"name": "guesses", "model": "guesses", "examples": 2, "dslm": {"passages": False}},
        ],
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


class Endpoint:
    """Answers sums rightly as `knows`, and nine always as `guesses`; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.refuses = ""
        self.most = 10**9

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        question = body["messages"][-1]["content"]
        if self.refuses and self.refuses in question:
            return web.json_response({"error": {"message": "no"}}, status=400)
        if sum(self.asked.values()) >= self.most:
            raise asyncio.CancelledError
        self.asked[f"{body['model']} {question}"] += 1
        self.bodies.append(body)
        n = int(question.split()[2])
        text = f"It is {2 * n}." if body["model"] == "knows" else "Nine, I think: 9"
        return web.json_response(
            {
                "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 30, "completion_tokens": 5},
                "dslm": {"release": "sums@3"},
            }
        )


async def asked(study: Study, folder: Path, endpoint: Endpoint) -> tuple[Results, int]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        with Results(folder, study) as results:
            refused = await run_study(study, results, f"http://{host}:{port}", embed)
    finally:
        await runner.cleanup()
    return results, refused


async def test_every_question_is_asked_once_and_told_with_all_that_came(tmp_path: Path) -> None:
    study, endpoint = read_study(write(tmp_path)), Endpoint()
    results, refused = await asked(study, tmp_path / "out", endpoint)
    assert refused == 0
    assert len(results.records) == 24
    assert set(endpoint.asked.values()) == {1}
    assert {key: np.mean(values) for key, values in scores(results.ordered()).items()} == {
        "knows": 1.0,
        "guesses": 0.0,
    }
    record = results.ordered()[0]
    assert (record.tokens_in, record.tokens_out, record.release) == (30, 5, "sums@3")
    assert all(body["temperature"] == 0 for body in endpoint.bodies)
    shown = [body for body in endpoint.bodies if body["model"] == "guesses"]
    assert all(body["dslm"] == {"passages": False} for body in shown)
    assert {len(body["messages"]) for body in shown} == {5}


async def test_a_run_that_is_cut_asks_only_what_is_missing_and_reports_the_same(
    tmp_path: Path,
) -> None:
    study, endpoint = read_study(write(tmp_path)), Endpoint()
    whole, _ = await asked(study, tmp_path / "whole", endpoint)
    cut = tmp_path / "cut"
    cut.mkdir()
    lines = (tmp_path / "whole" / "answers.jsonl").read_text("utf-8").splitlines(keepends=True)
    (cut / "answers.jsonl").write_text("".join(lines[:9]) + lines[9][:40], encoding="utf-8")
    again = Endpoint()
    resumed, _ = await asked(study, cut, again)
    assert sum(again.asked.values()) == 15
    drop = {"seconds"}
    assert [one.model_dump(exclude=drop) for one in resumed.ordered()] == [
        one.model_dump(exclude=drop) for one in whole.ordered()
    ]


async def test_a_refused_question_has_no_answer_and_is_asked_again(tmp_path: Path) -> None:
    study, endpoint = read_study(write(tmp_path)), Endpoint()
    endpoint.refuses = "is 3 plus"
    results, refused = await asked(study, tmp_path / "out", endpoint)
    assert (refused, len(results.records)) == (2, 22)
    results, refused = await asked(study, tmp_path / "out", Endpoint())
    assert (refused, len(results.records)) == (0, 24)


async def test_a_folder_of_another_study_is_left_alone(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    await asked(study, tmp_path / "out", Endpoint())
    changed = read_study(write(tmp_path, seeds=[1, 2]))
    with pytest.raises(BadInput, match="another study"):
        Results(tmp_path / "out", changed)
    faster = read_study(write(tmp_path, concurrency=2))
    assert len(Results(tmp_path / "out", faster).records) == 24


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "answers.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"answers\.jsonl:1 is damaged"):
        Results(tmp_path / "out", study)


async def test_the_report_names_a_winner_with_its_interval_and_what_it_cost(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    results, _ = await asked(study, tmp_path / "out", Endpoint())
    text = report(study, results.ordered())
    assert "| knows | 1.000 | 1.000 to 1.000 | 12 |" in text
    assert "| knows - guesses | +1.000 | +1.000 to +1.000 | 0.0005 | 0.0005 | knows |" in text
    assert "0.000100" in text, "2 dollars a million tokens in, 8 out"
    assert "Won by knows against guesses" in text
    assert "12 questions show a difference of" in text
    assert "lm-eval strict" in text


def test_few_questions_have_no_winner() -> None:
    study = Study.model_validate(
        {
            "name": "s",
            "tasks": [{"name": "t", "kind": "quote", "rows": __file__}],
            "conditions": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}],
        }
    )
    records = [
        Record(
            task="t",
            condition=name,
            seed=1,
            item=str(n),
            messages=[{"role": "user", "content": "?"}],
            expected="x",
            answer="x",
            score=float(name == "a"),
            found=None,
            rule="holds",
            finish_reason="stop",
            tokens_in=1,
            tokens_out=1,
            seconds=0.1,
        )
        for name in "ab"
        for n in range(4)
    ]
    assert "| a - b | +1.000 | +1.000 to +1.000 | 0.1250 | 0.1250 |  |" in report(study, records)


@pytest.mark.parametrize("choice", ["similar", "words", "random"])
def test_no_question_is_shown_its_own_answer(tmp_path: Path, choice: Any) -> None:
    study = read_study(write(tmp_path))
    condition = study.conditions[1].model_copy(update={"choice": choice, "examples": 5})
    task = open_task(study.tasks[0])
    for item, shown in zip(task.items, choose_examples(task, condition, 1, embed), strict=True):
        assert len(shown) == 5
        assert item.question not in [one.question for one in shown]
        assert turns(task, item, shown)[-1]["content"] == item.question


@pytest.mark.parametrize("choice", ["similar", "words", "random"])
def test_an_example_that_asks_nearly_the_same_is_not_shown(tmp_path: Path, choice: Any) -> None:
    study = read_study(write(tmp_path))
    condition = study.conditions[1].model_copy(update={"choice": choice, "examples": 5})
    task = open_task(study.tasks[0])
    nearly = [
        replace(one, question=f"{one.question.upper()} and if so, why, please tell me?!")
        for one in task.items
    ]
    longer = replace(
        task,
        items=[
            replace(one, question=f"{one.question} and if so, why, please tell us!")
            for one in task.items
        ],
        pool=[*nearly, *task.pool],
    )
    for own, shown in zip(nearly, choose_examples(longer, condition, 1, embed), strict=True):
        assert own.question not in [one.question for one in shown]


def test_the_most_similar_example_comes_last(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    task = open_task(study.tasks[0])
    (first, *_) = choose_examples(task, study.conditions[1], 1, embed)
    cosines = embed([one.question for one in first]) @ embed([task.items[0].question])[0]
    assert cosines[-1] == max(cosines)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": []}, "tasks"),
        ({"seeds": []}, "seeds"),
        ({"colour": 1}, "colour"),
        ({"conditions": [{"name": "a", "model": "m"}] * 2}, "two conditions are called 'a'"),
        ({"tasks": [{"name": "t", "kind": "sum", "rows": "rows.jsonl"}]}, "kind"),
        (
            {
                "tasks": [{"name": "t", "kind": "quote", "rows": "none.jsonl"}],
                "conditions": [{"name": "a", "model": "m"}],
            },
            "There is no",
        ),
        ({"tasks": [{"name": "t", "kind": "quote", "rows": "rows.jsonl"}]}, "'t' has no pool"),
        (
            {"tasks": [{"name": "t", "kind": "quote", "rows": "rows.jsonl", "prompt": "Hm?"}]},
            "prompt",
        ),
    ],
)
def test_what_is_wrong_with_a_study_is_named(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        read_study(write(tmp_path, **changes))


def test_a_row_without_its_field_is_named(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    spec = study.tasks[0].model_copy(update={"question": "text"})
    with pytest.raises(BadInput, match=r"rows\.jsonl:1 has no text `text`"):
        open_task(spec)


def test_questions_go_item_by_item_through_the_conditions_each_first_in_turn(
    tmp_path: Path,
) -> None:
    asked = questions(read_study(write(tmp_path)), embed)
    assert [one.condition.name for one in asked] == ["knows", "guesses", "guesses", "knows"] * 6
    assert [one.item for one in asked[::2]] == [one.item for one in asked[1::2]]


@contextmanager
def environment(**values: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


async def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    one = {"name": "far", "model": "knows", "key_env": "FAR_KEY"}
    study = read_study(write(tmp_path, conditions=[one]))
    with pytest.raises(BadInput, match="wants a key in FAR_KEY"):
        await asked(study, tmp_path / "out", Endpoint())
    with environment(FAR_KEY="secret"):
        results, _ = await asked(study, tmp_path / "out", Endpoint())
    assert len(results.records) == 12
    assert "secret" not in (tmp_path / "out" / "answers.jsonl").read_text("utf-8")
