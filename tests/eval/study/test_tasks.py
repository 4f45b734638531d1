"""Published test sets are read in their own form, asked as their task says, and judged."""

import gzip
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.study.presets import EXTRACTION, PRESETS
from eval.study.rows import read_rows
from eval.study.spec import ConditionSpec, Study, TaskSpec, placed
from eval.study.tasks import Task, open_task
from indexer.errors import BadInput
from tests.eval.study.published import MMLU, SQUAD, lines, write_all

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("sets"))


def spec(folder: Path, **fields: Any) -> TaskSpec:
    return placed(TaskSpec.model_validate({"name": "t", **fields}), folder)


def opened(folder: Path, **fields: Any) -> Task:
    return open_task(spec(folder, **fields))


def scores(task: Task, *answers: str) -> list[float]:
    """Of the task's items in their order."""
    return [task.judge(said, one).score for said, one in zip(answers, task.items, strict=True)]


def test_gsm8k_is_asked_for_a_number_behind_hashes(sets: Path) -> None:
    task = opened(sets, format="gsm8k", rows="gsm8k.jsonl")
    assert "####" in task.asked(task.items[0])
    assert task.items[0].answer == "There are 4*3 = 12 herbs.\n#### 12"
    assert scores(task, "12 herbs.", "She reads $110.00 a day") == [1.0, 1.0]
    verdict = task.judge("The answer is 110.", task.items[1])
    assert verdict.rule == "said"
    assert verdict.parts == {"lm-eval strict": 0.0, "lm-eval flexible": 1.0}


def test_doctors_answers_are_compared_without_their_signatures(sets: Path) -> None:
    task = opened(sets, format="healthcaremagic", rows="HealthCareMagic-100k.json")
    assert task.items[0].question == "My ankle is swollen since I fell. What should I do?"
    opening = task.opening(task.items[0])
    assert opening is not None
    assert opening.startswith("You are a doctor")
    said = "Rest it, cool it and keep it high for two days.</s>"
    assert task.judge(said, task.items[0]).score == 1.0
    verdict = task.judge(f"{said} Best wishes, Dr. Finch", task.items[0])
    assert (verdict.score, verdict.parts) == (1.0, {"length ratio": 1.0, "signed": 1.0})


def test_beers_are_told_by_a_closed_list_of_styles(sets: Path) -> None:
    task = opened(
        sets,
        format="beeradvocate",
        rows="beeradvocate.txt",
        classes="classes.yaml",
        labels="styles.jsonl",
    )
    assert [one.answer for one in task.items] == ["Foreign Extra Stout", "Weissbier"]
    assert task.items[0].question == "Black, with a tan head. Roast, dark fruit: and liquorice."
    opening = task.opening(task.items[0])
    assert opening is not None
    assert opening.endswith("Foreign Extra Stout\nWeissbier\nKölsch")
    assert scores(task, "Foreign extra stout.", "Kölsch") == [1.0, 0.0]


def test_a_style_that_nobody_mapped_is_named(sets: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("Pale Wheat: Weissbier\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"does not name the style 'Export Stout \(Foreign\)'"):
        opened(
            sets,
            format="beeradvocate",
            rows="beeradvocate.txt",
            classes=tmp_path / "classes.yaml",
        )


def test_an_answer_outside_the_closed_list_is_named(sets: Path) -> None:
    with pytest.raises(BadInput, match=r"'Export Stout \(Foreign\)'.*does not list"):
        opened(sets, format="beeradvocate", rows="beeradvocate.txt", labels="styles.jsonl")


def test_banking77_is_read_from_its_table(sets: Path) -> None:
    task = opened(sets, format="banking77", rows="banking.csv")
    assert [one.question for one in task.items] == ["Where is my card, please?", "I lost it"]
    assert scores(task, "Card arrival", "card_arrival") == [1.0, 0.0]


def test_pubmedqa_is_asked_about_its_abstract_and_may_be_split_by_ids(sets: Path) -> None:
    task = opened(sets, format="pubmedqa", rows="ori_pqal.json")
    assert task.asked(task.items[0]).startswith(
        "Sixty adults were watched.\nThose who slept longer were well sooner.\n\nQuestion: Does"
    )
    assert scores(task, "Yes, since those who slept were well sooner.", "maybe") == [1.0, 0.0]
    test = opened(sets, format="pubmedqa", rows="ori_pqal.json", ids="test_ground_truth.json")
    assert [one.question for one in test.items] == ["Do hats prevent colds?"]


@pytest.mark.parametrize(
    ("rows", "letter", "wrong"),
    [("medqa.jsonl", "C", "A"), ("medmcqa.json", "B", "C")],
)
def test_multiple_choice_is_answered_by_a_letter(
    sets: Path, rows: str, letter: str, wrong: str
) -> None:
    task = opened(sets, format="multiple_choice", rows=rows)
    (one,) = task.items
    assert f"\n{letter}. {one.choices['ABCD'.index(letter)]}\n" in task.asked(one)
    for said in (
        letter,
        f"({letter}) it is",
        f"The answer is {letter}.",
        one.choices[1 + (letter == "C")],
    ):
        assert task.judge(said, one).score == 1.0, said
    for said in (wrong, "I do not know", f"The answer is {wrong}"):
        assert task.judge(said, one).score == 0.0, said


def test_mmlus_table_has_no_head(sets: Path) -> None:
    task = opened(sets, format="multiple_choice", rows="mmlu_test.csv")
    assert [one.answer for one in task.items] == ["C", "A"]
    assert task.items[1].choices == ("Iron", "Wood", "Glass", "Wool")


def test_spans_are_scored_as_squad_scores_them(sets: Path) -> None:
    task = opened(sets, format="squad", rows="squad.json")
    first, second = task.items
    assert (first.answer, first.others, second.answer) == ("Leipzig", ("in Leipzig",), "")
    assert task.judge("the Leipzig!", first).parts == {"exact": 1.0}
    assert task.judge("It was in Leipzig", first).score == pytest.approx(2 / 3)
    assert task.judge("", second).score == 1.0


def test_medquad_is_read_from_its_folder_of_xml(sets: Path) -> None:
    task = opened(sets, format="medquad", rows="medquad")
    assert [one.question for one in task.items] == ["What is hay fever?"]


def test_a_teams_own_rows_need_no_code(tmp_path: Path) -> None:
    rows = [
        {
            "q": "Which?",
            "text": "Red {choices}.",
            "options": ["red", "blue"],
            "answer": 0,
            "s": "a",
        },
        {"q": "Which one?", "text": "Blue.", "options": ["red", "blue"], "answer": "B", "s": "b"},
        {"q": "Which one?", "text": "Blue.", "options": ["red", "blue"], "answer": "B", "s": "b"},
    ]
    (tmp_path / "own.jsonl.gz").write_bytes(gzip.compress(lines(rows).encode()))
    fields = {"kind": "choice", "rows": "own.jsonl.gz", "question": "q", "context": "text"}
    task = opened(tmp_path, prompt="{context} {question}\n{choices}", **fields)
    assert (len(task.items), task.repeated) == (2, 1)
    assert task.asked(task.items[0]) == "Red {choices}. Which?\nA. red\nB. blue"
    assert len(opened(tmp_path, **fields, where={"s": "a"}).items) == 1
    with pytest.raises(BadInput, match="no rows that"):
        opened(tmp_path, **fields, where={"s": "c"})


def test_several_answers_may_be_right(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(
        lines([{"question": "How long?", "answer": ["nine months", "270 days"]}]), "utf-8"
    )
    task = opened(tmp_path, kind="quote", rows="own.jsonl")
    assert [task.judge(said, task.items[0]).score for said in ("270 days.", "nine days")] == [1, 0]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_format_brings_what_it_takes(name: str) -> None:
    task = TaskSpec.model_validate({"name": "t", "format": name, "rows": "x"})
    assert task.kind == PRESETS[name].kind
    changed = {"name": "t", "format": name, "rows": "x", "prompt": "Say: {question}"}
    assert TaskSpec.model_validate(changed).prompt == "Say: {question}"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "{question}!"},
        {"max_tokens": 9},
        {"where": {"a": "b"}},
        {"kind": "span"},
        {"stop": ["\n"]},
        {"rows": "ori_pqal.json"},
    ],
)
def test_a_studys_digest_names_all_that_decides_what_is_asked(
    sets: Path, change: Mapping[str, Any]
) -> None:
    def digest(**fields: Any) -> str:
        told = {"format": "gsm8k", "rows": "gsm8k.jsonl", **fields}
        condition = {"name": "a", "model": "a"}
        study = {"name": "s", "tasks": [{"name": "t", **told}], "conditions": [condition]}
        read = Study.model_validate(study)
        return read.model_copy(update={"tasks": (placed(read.tasks[0], sets),)}).digest()

    assert digest() == digest()
    assert digest() != digest(**change)


def test_other_rules_of_reading_are_another_study(
    sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(
        name="s",
        tasks=(spec(sets, format="gsm8k", rows="gsm8k.jsonl"),),
        conditions=(ConditionSpec(name="a", model="a"),),
    )
    before = study.digest()
    monkeypatch.setitem(cast(dict[str, str], EXTRACTION), "number", "number/0")
    assert study.digest() != before


def test_braces_of_a_prompt_and_of_a_question_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"question": "Is {context} a {slot}?", "answer": "yes"}]
    (tmp_path / "rows.jsonl").write_text(lines(rows), encoding="utf-8")
    prompt = 'Answer as {"answer": ...}. {question}'
    task = opened(tmp_path, kind="quote", rows="rows.jsonl", prompt=prompt)
    assert task.asked(task.items[0]) == 'Answer as {"answer": ...}. Is {context} a {slot}?'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.jsonl", '{"a": 1}\n[1]\n', r"rows\.jsonl:2 is no JSON object"),
        ("rows.jsonl", "\n\n", "has no rows"),
        ("rows.json", "[1]", "1 is no object"),
        ("rows.json", "{", "is no JSON"),
        ("rows.csv", "a,b\n1\n", "has 1 cells, not 2"),
        ("rows.txt", "a: 1\nb\n", r"rows\.txt:2 is no `name: value`"),
        ("rows.parquet", "PAR1", r"is of no kind that is read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        list(read_rows(tmp_path / name))


def test_a_line_of_json_ends_where_json_says(tmp_path: Path) -> None:
    """PubMed's and GSM8K's texts hold characters at which Python ends a line."""
    text = json.dumps({"question": "One\u2028two?\x85", "answer": "3"}, ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_text(f"{text}\n", encoding="utf-8", newline="\n")
    assert [row["question"] for _, row in read_rows(tmp_path / "rows.jsonl")] == [
        "One\u2028two?\x85"
    ]


@pytest.mark.parametrize("answer", [7, "Z", "neither", None, True])
def test_a_choice_that_is_not_offered_is_named(tmp_path: Path, answer: Any) -> None:
    row = {"question": "?", "choices": ["a", "b"], "answer": answer}
    (tmp_path / "rows.jsonl").write_text(lines([row]), encoding="utf-8")
    with pytest.raises(BadInput, match=r"rows\.jsonl:1 has 2 choices"):
        opened(tmp_path, format="multiple_choice", rows="rows.jsonl")


@given(st.text(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_rows_or_a_clear_error(tmp_path: Path, text: str) -> None:
    for kind in ("jsonl", "json", "csv", "txt"):
        (tmp_path / f"rows.{kind}").write_text(text, encoding="utf-8")
        with suppress(BadInput):
            assert list(read_rows(tmp_path / f"rows.{kind}"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets lie outside a clone")
@pytest.mark.parametrize(
    ("name", "rows", "count"),
    [
        ("gsm8k", "gsm8k/test_first200.jsonl", 200),
        ("gsm8k", "gsm8k/train.jsonl.gz", 7473),
        ("banking77", "banking77/test.jsonl", 3080),
        ("pubmedqa", "pubmedqa/pqal_cv.jsonl.gz", 500),
        ("multiple_choice", "mmlu/dev_5shot.jsonl", 285),
        ("medquad", "medquad/qa_pairs.jsonl.gz", 16407),
    ],
)
def test_the_public_sets_are_read_whole_and_know_their_own_answers(
    name: str, rows: str, count: int
) -> None:
    task = opened(SHARED, format=name, rows=rows)
    assert len(task.items) + task.repeated == count
    assert task.repeated < 0.01 * count
    for one in task.items[:: max(1, count // 20)]:
        assert task.judge(one.answer, one).score == 1.0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets lie outside a clone")
def test_xquad_is_read_in_squads_form(tmp_path: Path) -> None:
    folder = SHARED / "squad_xquad_en"
    texts = {row["_id"]: row["text"] for _, row in read_rows(folder / "paragraphs.jsonl")}
    asked: dict[str, list[Mapping[str, Any]]] = {}
    for _, row in read_rows(folder / "questions.jsonl"):
        asked.setdefault(row["paragraph"], []).append(row)
    told = [{"context": texts[name], "qas": qas} for name, qas in asked.items()]
    articles = {"data": [{"title": "all", "paragraphs": told}]}
    (tmp_path / "xquad.json").write_text(json.dumps(articles), encoding="utf-8")
    task = opened(tmp_path, format="squad", rows="xquad.json")
    assert len(task.items) + task.repeated == 1190
    assert all(one.answer in one.context for one in task.items)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets lie outside a clone")
def test_the_bjcp_styles_are_a_closed_list_that_every_name_is_read_from(sets: Path) -> None:
    folder = SHARED / "bjcp"
    rows = [
        {"text": f"A beer like a {row['name']}.", "beer_style": row["name"]}
        for _, row in read_rows(folder / "styles_2021.jsonl")
    ]
    file = sets / "beers.jsonl"
    file.write_text(lines(rows), encoding="utf-8")
    task = opened(sets, format="beeradvocate", rows=file, labels=folder / "styles_2021.jsonl")
    assert len(task.labels) == len(rows) == 110
    for one in task.items:
        assert task.judge(f"**{one.answer.upper()}**.", one).score == 1.0


def test_the_fixtures_are_what_their_makers_publish() -> None:
    """Names that readers depend on."""
    assert set(SQUAD) == {"version", "data"}
    assert MMLU.count("\n") == 2
