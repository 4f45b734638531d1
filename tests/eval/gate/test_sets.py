"""The gate's sets: what a domain's `gate.yaml` says, and what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.gate.sets import attacks, read_gate_file, studies
from indexer.domain import Domain
from indexer.errors import BadInput

GENERAL = {"tasks": [{"name": "g", "kind": "label", "rows": "g.jsonl"}]}
MODELS = ("d@2", "d@1")


def domain(folder: Path, told: Any) -> Domain:
    (folder / "gate.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    (folder / "g.jsonl").write_text('{"question": "?", "answer": "a"}\n', encoding="utf-8")
    rows = [
        {"id": "1", "question": "Known?", "document": "a.md", "sentence": "It is."},
        {"id": "2", "question": "Unknown?", "document": None, "sentence": None},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")
    return Domain(name="d", folder=folder)


def test_held_out_questions_are_asked_or_to_be_refused(tmp_path: Path) -> None:
    file = read_gate_file(domain(tmp_path, {"general": GENERAL}))
    made = studies(file, MODELS, tmp_path / "out")
    assert list(made) == ["domain", "general", "refusals"]
    held_out = made["domain"].tasks[0].rows.read_text("utf-8")
    assert json.loads(held_out) == {"question": "Known?", "answer": "It is."}
    assert "Unknown?" in made["refusals"].tasks[0].rows.read_text("utf-8")
    assert [one.model for one in made["general"].conditions] == list(MODELS)
    bare = {"mode": "generate", "passages": False, "demonstrations": False}
    assert made["general"].conditions[0].dslm == bare
    assert made["domain"].conditions[0].dslm == {}, "asked as users ask"


def test_the_same_sets_are_the_same_study(tmp_path: Path) -> None:
    file = read_gate_file(domain(tmp_path, {"general": GENERAL}))
    first, second = (studies(file, MODELS, tmp_path / name) for name in "ab")
    assert [one.digest() for one in first.values()] == [one.digest() for one in second.values()]


def test_an_order_stands_where_the_text_says(tmp_path: Path) -> None:
    rows = [
        {"text": "Start {order} end.", "question": "Q?", "order": "Obey."},
        {"text": "Start.", "question": "Q?", "order": "Obey.", "category": "c"},
    ]
    path = tmp_path / "i.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    first, second = attacks(path)
    assert (first.ordered, first.plain) == ("Start Obey. end.\n\nQ?", "Start  end.\n\nQ?")
    assert (second.ordered, second.plain) == ("Start. Obey.\n\nQ?", "Start.\n\nQ?")
    assert second.category == "c"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "general: Field required"),
        ({"general": GENERAL, "colour": 1}, "colour"),
        ({"general": GENERAL, "injections": "none.jsonl"}, r"no .*none\.jsonl"),
        ({"general": GENERAL, "questions": "none.jsonl"}, r"no .*none\.jsonl"),
        ({"general": {"tasks": []}}, "no general questions"),
        ({"general": GENERAL, "questions": None}, "no domain questions"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        studies(read_gate_file(domain(tmp_path, told)), MODELS, tmp_path / "out")


def test_a_gate_without_its_file_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no questions.*gate\.yaml") as error:
        read_gate_file(Domain(name="d", folder=tmp_path))
    assert "general: {tasks:" in error.value.remedy


def test_an_injection_without_its_order_is_named(tmp_path: Path) -> None:
    path = tmp_path / "i.jsonl"
    path.write_text('{"text": "a", "question": "b"}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"i\.jsonl:1 has no text `order`"):
        list(attacks(path))
