"""Opinions on answers: kept, listed, decided once, and what of them the next index reads."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters.answered import AnsweredLine, AnsweredLog
from adapters.audit import Cause
from adapters.command_line import Workplace
from adapters.feedback import Feedback, FeedbackStore, TooMuchFeedback
from adapters.feedback_commands import feedback_app
from indexer.domain import load_domain
from indexer.errors import BadInput, NotFound
from indexer.reading.examples import read_demonstrations
from indexer.settings import Paths

OPS = Cause("user:ops", "checked")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def feedback(name: str, **changes: Any) -> Feedback:
    told = {
        "id": name,
        "at": NOW,
        "answer": f"chatcmpl-{name}",
        "release": 2,
        "role": "live",
        "rating": "down",
        "question": "How long is the guarantee?",
        "corrected": "Three years.",
        **changes,
    }
    return Feedback(**told)


@pytest.fixture
def place(paths: Paths, tmp_path: Path) -> Workplace:
    folder = tmp_path / "domains" / "support"
    folder.mkdir(parents=True)
    (folder / "domain.toml").write_text("", encoding="utf-8")
    return Workplace(paths, tmp_path / "domains", "", 16)


@pytest.fixture
def store(place: Workplace) -> FeedbackStore:
    made = FeedbackStore(place.paths, "support")
    made.add(feedback("aa11"))
    made.add(feedback("bb22", rating="up", question="", corrected=""))
    return made


def run(place: Workplace, *words: str) -> Result:
    return CliRunner().invoke(feedback_app, words, obj=lambda: place)


def test_an_accepted_correction_is_a_demonstration_of_the_domain(
    place: Workplace, store: FeedbackStore
) -> None:
    result = run(place, "review", "support", "aa", "--accept", "--why", "it is so")
    assert result.exit_code == 0, result.output
    domain = load_domain(place.domains / "support")
    (found,) = read_demonstrations(domain)
    assert (found.question, found.answer) == ("How long is the guarantee?", "Three years.")
    assert found.id == "feedback-aa11"
    review = store.reviews()["aa11"]
    assert (review.state, review.why, review.corrected) == ("accepted", "it is so", "Three years.")
    again = run(place, "review", "support", "aa", "--reject")
    assert isinstance(again.exception, BadInput)
    assert "was accepted by" in str(again.exception)


def test_it_is_added_to_the_examples_that_are_there(place: Workplace, store: FeedbackStore) -> None:
    folder = place.domains / "support"
    (folder / "domain.toml").write_text('[demonstrations]\npaths = ["own.jsonl"]\n', "utf-8")
    turns = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    (folder / "own.jsonl").write_text(json.dumps({"messages": turns}), "utf-8")  # no newline
    domain = load_domain(folder)
    store.accept(domain, "aa11", OPS, "Three years, in writing.")
    found = read_demonstrations(domain)
    assert [one.answer for one in found] == ["b", "Three years, in writing."]


def test_after_a_crash_between_the_two_writes_the_example_counts_once(
    place: Workplace, store: FeedbackStore
) -> None:
    domain = load_domain(place.domains / "support")
    store.accept(domain, "aa11", OPS)
    (store.folder / "reviews.jsonl").unlink()
    store.accept(domain, "aa11", OPS)
    assert len(read_demonstrations(domain)) == 1
    assert store.reviews()["aa11"].state == "accepted"


def test_what_was_rejected_changes_no_examples(place: Workplace, store: FeedbackStore) -> None:
    assert run(place, "review", "support", "aa11", "--reject").exit_code == 0
    assert read_demonstrations(load_domain(place.domains / "support")) == []
    assert store.reviews()["aa11"].state == "rejected"


def test_they_are_listed_by_what_became_of_them(place: Workplace, store: FeedbackStore) -> None:
    result = run(place, "list", "support")
    assert "aa11  2026-11-21 00:00  release 2  live  down  open" in result.stdout
    assert "should be: Three years." in result.stdout
    assert "2 opinions: 1 up, 1 down, 1 corrections, 0 decided" in result.stderr
    store.reject("aa11", OPS)
    assert "aa11" not in run(place, "list", "support").stdout
    assert "aa11" in run(place, "list", "support", "--state", "rejected").stdout
    lines = run(place, "list", "support", "--state", "all", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["aa11", "bb22"]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("bb22", "--accept"), BadInput, "has no correction"),
        (("cc", "--accept"), NotFound, "no opinion cc"),
        (("aa11",), BadInput, "Say --accept or --reject"),
        (("aa11", "--accept", "--reject"), BadInput, "Say --accept or --reject"),
    ],
)
def test_what_cannot_be_decided_is_said(
    place: Workplace, store: FeedbackStore, words: tuple[str, ...], kind: type, said: str
) -> None:
    result = run(place, "review", "support", *words)
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)


def test_it_is_bounded_and_nothing_that_was_kept_is_dropped(paths: Paths) -> None:
    store = FeedbackStore(paths, "support", max_bytes=600)
    store.add(feedback("a"))
    with pytest.raises(TooMuchFeedback, match="has reached"):
        store.add(feedback("b", comment="x" * 500))
    assert store.list()[0].id == "a"
    assert (store.folder / "feedback.jsonl").stat().st_size <= 600


def test_only_the_owner_can_read_what_callers_wrote(store: FeedbackStore) -> None:
    assert (store.folder / "feedback.jsonl").stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_who_thinks_again_counts_once(store: FeedbackStore) -> None:
    store.add(feedback("cc33", answer="chatcmpl-aa11", rating="up"))
    assert {one.answer: one.rating for one in store.latest()} == {
        "chatcmpl-aa11": "up",
        "chatcmpl-bb22": "up",
    }


def line(name: str, **changes: Any) -> AnsweredLine:
    told = {
        "id": name,
        "at": NOW,
        "release": 1,
        "role": "live",
        "mode": "generate",
        "refused": False,
        "seconds": 0.1,
        "tokens_in": 1,
        "tokens_out": 1,
        "caller": "c",
        "question": "q",
        **changes,
    }
    return AnsweredLine(**told)


def test_an_answer_is_found_by_its_id_and_the_newest_of_an_id_wins(paths: Paths) -> None:
    log = AnsweredLog(paths, "support")
    assert log.find("a") is None
    log.append([line("a"), line("ab"), line("a", release=2)], 1 << 20)
    found = log.find("a")
    assert found is not None
    assert found.release == 2
    other = log.find("ab")
    assert other is not None
    assert other.id == "ab"
    assert log.find('a","release') is None
    assert log.find("b") is None


def test_answers_are_forgotten_when_the_log_is_full(paths: Paths) -> None:
    log = AnsweredLog(paths, "support")
    for number in range(60):
        log.append([line(f"n{number}")], 4000)
    assert sum(path.stat().st_size for path in log.files()) <= 4000
    assert log.find("n0") is None
    assert log.find("n59") is not None


def test_half_a_line_of_a_killed_writer_hides_no_other(paths: Paths) -> None:
    log = AnsweredLog(paths, "support")
    log.append([line("a")], 1 << 20)
    with log.files()[1].open("ab") as file:
        file.write(b'{"id":"a","at":"20')
    log.append([line("b")], 1 << 20)
    assert [one.id for one in log.read()] == ["a", "b"]
    found = log.find("a")
    assert found is not None
    assert found.at == NOW
