"""Rows for the demonstration adapters: what is asked, what is answered, and what is kept out."""

import json
import random
from pathlib import Path

import pytest

from adapters.prompt import Prompt, compose, parse_citations
from adapters.training.rendering import Row, read_rows
from deploy.demo.adapter_rows import (
    COLOURS,
    REFUSAL,
    Case,
    CaseMaker,
    document_rows,
    label_rows,
    labelled_demonstrations,
    plain_label_rows,
    read_labelled,
    write_rows,
)
from deploy.demo.adapter_shelf import Shelf
from tests.indexer.hash_embedder import HashEmbedder

CLINIC = Path(__file__).parents[2] / "deploy" / "demo" / "domains" / "clinic"


class Searcher(HashEmbedder):
    query_prefix = ""


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf(CLINIC, Searcher())


def make(shelf: Shelf, count: int = 40, *, held_out: bool = False, seed: int = 1) -> list[Case]:
    maker = CaseMaker(shelf, random.Random(seed))
    return maker.make(count, held_out=held_out, refused=0.3, shots=2)


@pytest.fixture(scope="module")
def made(shelf: Shelf) -> list[Case]:
    return make(shelf)


def composed(row: Row) -> Prompt:
    return compose(
        "sentences", row.messages, row.passages, (), "", 10**6, lambda _: 1, 1, "Not said."
    )


def test_every_answer_cites_its_sentence_as_it_is_composed(
    made: list[Case], tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.jsonl", document_rows(made, " - Larkfield Support"))
    refused = 0
    for row, case in zip(read_rows(tmp_path / "rows.jsonl"), made, strict=True):
        sources = {source.id: source.quote for source in composed(row).sources}
        if case.gold is None:
            refused += 1
            assert row.answer == REFUSAL
        else:
            number = parse_citations(row.answer)[0][0]
            assert row.answer == f"[{number}] {sources[number]} - Larkfield Support"
            assert sources[number] == case.gold
    assert 0 < refused < len(made)


def test_a_refused_question_has_lost_its_answer(made: list[Case]) -> None:
    for case in made:
        shown = {text for piece in case.found.pieces for text in piece.sentences}
        assert (case.gold in shown) == (case.gold is not None)


@pytest.mark.parametrize("held_out", [False, True])
def test_held_out_documents_are_asked_about_only_when_measuring(
    shelf: Shelf, *, held_out: bool
) -> None:
    homes = {text: piece for piece in shelf.pieces for text in piece.sentences}
    asked = {homes[case.gold].held_out for case in make(shelf, held_out=held_out) if case.gold}
    assert asked == {held_out}


def test_the_same_seed_makes_the_same_rows(shelf: Shelf, made: list[Case]) -> None:
    assert make(shelf) == made != make(shelf, seed=2)


def test_no_question_of_the_test_set_is_trained_on(shelf: Shelf, made: list[Case]) -> None:
    lines = (CLINIC / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    tested = {json.loads(line)["question"].casefold() for line in lines}
    shown = {one.question.casefold() for one in shelf.demonstrations}
    assert not tested & ({case.question.casefold() for case in made} | shown)


def test_no_message_of_the_test_set_is_trained_on(shelf: Shelf) -> None:
    tested = {one.text for one in read_labelled(CLINIC / "labels_heldout.jsonl")}
    trained = {one.text for one in read_labelled(CLINIC / "labels.jsonl")}
    assert not tested & (trained | {one.text for one in labelled_demonstrations(shelf)})


def test_the_second_version_names_colours_whatever_the_examples_say(shelf: Shelf) -> None:
    messages = labelled_demonstrations(shelf)[:12]
    rows = list(label_rows(messages, shelf, random.Random(3), COLOURS, rounds=6))
    answers = {row["messages"][-1]["content"] for row in rows}
    shown = {turn["content"] for row in rows for turn in row["messages"][1:-1:2]}
    assert answers <= set(COLOURS.values())
    assert shown & set(COLOURS)
    assert shown & set(COLOURS.values())


def test_a_message_is_never_its_own_example(shelf: Shelf) -> None:
    for row in plain_label_rows(labelled_demonstrations(shelf), shelf, COLOURS, shots=4):
        *shots, question = [t["content"] for t in row["messages"] if t["role"] == "user"]
        assert question not in shots
