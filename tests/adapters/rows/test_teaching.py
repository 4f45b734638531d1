"""Rows from a teacher: kept where it agrees with itself and obeys the schema, each loss named."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from adapters.rows.commands import data_app
from adapters.rows.example import Example, Fault
from adapters.rows.reading import read_examples
from adapters.rows.teaching.asking import Answered, Verdict, agree, parsed, schema_of
from adapters.rows.teaching.endpoint import Endpoint, Teacher, TeacherFailed, Unusable
from adapters.rows.teaching.teach import Lesson, TeachSettings, pieces
from indexer.errors import BadInput, DslmError
from indexer.text.masking import KINDS

Asked = dict[str, Any]
Say = Callable[[Asked], Any]
AT = Endpoint("http://teacher/v1", "big")


def reply(content: str, finish: str = "stop") -> Asked:
    return {"choices": [{"message": {"content": content}, "finish_reason": finish}]}


def teacher(say: Say, notebook: Path | None = None, waits: list[float] | None = None) -> Teacher:
    """A teacher that says what `say` makes of a request: a text, or a whole response."""

    def answer(request: httpx.Request) -> httpx.Response:
        said = say(json.loads(request.content))
        if isinstance(said, httpx.Response):
            return said
        return httpx.Response(200, json=reply(said) if isinstance(said, str) else said)

    slept: list[float] = [] if waits is None else waits
    return Teacher(AT, notebook, transport=httpx.MockTransport(answer), sleep=slept.append)


def question(text: str, place: str = "q.jsonl:1") -> Example:
    return Example(place, "chat", ({"role": "user", "content": text},), "")


def answering(**answers: str) -> Say:
    """By the last word of the question; `first|second` for two samples that differ."""

    def say(asked: Asked) -> str:
        word = asked["messages"][-1]["content"].rstrip("?").split()[-1]
        said = answers[word].split("|")
        return json.dumps({"answer": said[asked["seed"] % len(said)]})

    return say


def kinds(made: list[Example | Fault]) -> list[str]:
    return [one.kind if isinstance(one, Fault) else one.answer for one in made]


def test_a_question_is_asked_twice_and_kept_where_both_answers_say_the_same() -> None:
    say = answering(
        plum="In room 3|in room 3.",
        pear="Yes|No",
        fig="Take 12 figs a day now|Take 13 figs a day now",
    )
    lesson = Lesson(teacher(say), TeachSettings())
    asked = [
        question(f"Where is the {word}?", f"q:{n}")
        for n, word in enumerate(["plum", "pear", "fig"])
    ]
    made = list(lesson.label(asked))
    assert kinds(made) == ["In room 3", "disagreement", "disagreement"]
    assert [one.place for one in made] == ["q:0", "q:1", "q:2"]
    assert isinstance(made[0], Example)
    assert made[0].row() == {
        "messages": [
            {"role": "user", "content": "Where is the plum?"},
            {"role": "assistant", "content": "In room 3"},
        ],
        "synthetic": True,
    }


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("It is plum.", "schema"),
        ('{"answer": 3}', "schema"),
        ('{"answer": "a", "more": 1}', "schema"),
        ('{"answer": "  "}', "schema"),
        ("", "reply"),
        (reply('{"answer": "a"}', "length"), "reply"),
        ({"choices": []}, "reply"),
        ({"odd": 1}, "reply"),
        (httpx.Response(200, text="<html>"), "reply"),
    ],
)
def test_what_is_no_answer_is_left_out_with_its_reason(said: Any, kind: str) -> None:
    (made,) = Lesson(teacher(lambda asked: said), TeachSettings()).label([question("Why?")])
    assert isinstance(made, Fault)
    assert (made.place, made.kind) == ("q.jsonl:1", kind)
    assert made.reason


def test_a_fence_around_the_json_does_no_harm() -> None:
    assert parsed('```json\n{"answer": "a"}\n```', Answered).answer == "a"


def test_labels_are_the_only_answers_and_the_schema_says_so() -> None:
    seen: list[Asked] = []

    def say(asked: Asked) -> str:
        seen.append(asked)
        return str(answering(plum="fruit", oak="tree")(asked))

    settings = TeachSettings(labels=("fruit", "nut"))
    made = list(Lesson(teacher(say), settings).label([question("A plum?"), question("An oak?")]))
    assert kinds(made) == ["fruit", "label"]
    schema = seen[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == ["fruit", "nut"]
    assert schema["required"] == ["answer"]
    assert schema["additionalProperties"] is False


def test_a_judge_has_the_last_word() -> None:
    verdicts = {"plum": {"fit": True, "reason": ""}, "pear": {"fit": False, "reason": "too short"}}

    def judged(asked: Asked) -> str:
        said = asked["messages"][-1]["content"]
        return json.dumps(next(verdict for word, verdict in verdicts.items() if word in said))

    lesson = Lesson(teacher(answering(plum="a", pear="a")), TeachSettings(), teacher(judged))
    made = list(lesson.label([question("A plum?"), question("A pear?")]))
    assert kinds(made) == ["a", "judge"]
    assert isinstance(made[1], Fault)
    assert made[1].reason == "too short"


def test_personal_data_never_leaves() -> None:
    sent: list[str] = []

    def say(asked: Asked) -> str:
        sent.append(json.dumps(asked))
        return '{"answer": "Sent."}'

    solved = Example("s:1", "chat", ({"role": "user", "content": "Is bob@b.example in?"},), "No")
    lesson = Lesson(teacher(say), TeachSettings(kinds=tuple(KINDS)), like=[solved])
    (made,) = lesson.label([question("Mail ann@a.example, please?")])
    assert isinstance(made, Example)
    assert made.question == "Mail <EMAIL>, please?"
    assert not any("@" in one for one in sent)
    assert lesson.masked == {"email": 2}


def test_a_text_becomes_a_question_that_it_answers_and_its_pieces_stay_together() -> None:
    def say(asked: Asked) -> str:
        told = asked["messages"][-1]["content"]
        if "Question:" not in told:
            return json.dumps({"question": f"What of {told[:4]}?", "answer": "It is kept in jars."})
        return json.dumps({"answer": "not said" if "bbbb" in told else "It is kept in jars"})

    text = Example("a.md", "text", (), f"{'aaaa ' * 300}\n\n{'bbbb ' * 300}")
    found = list(pieces([text]))
    assert [one.place for one in found] == ["a.md#0", "a.md#1"]
    made = list(Lesson(teacher(say), TeachSettings()).write(found))
    assert kinds(made) == ["It is kept in jars.", "disagreement"]
    assert isinstance(made[0], Example)
    assert (made[0].question, made[0].group, made[0].synthetic) == ("What of aaaa?", "a.md", True)


def test_pieces_lose_nothing_but_what_is_too_short_to_ask_about() -> None:
    text = "\n\n".join(f"Paragraph {n} " + "word " * (n * 9) for n in range(30))
    found = list(pieces([Example("a.md", "text", (), text)]))
    assert all(200 <= len(one.answer) <= 2000 for one in found)
    assert sum(one.answer.count("Paragraph") for one in found) == 30


def test_a_busy_teacher_is_asked_again_and_a_refusing_one_is_not() -> None:
    waits: list[float] = []
    busy = iter([httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(503), "done"])

    def say(asked: Asked) -> Any:
        said = next(busy)
        return '{"answer": "a"}' if said == "done" else said

    assert teacher(say, waits=waits).ask([], {}, 0.0, 1)
    assert waits == [7.0, 2.0]
    refusing = teacher(lambda asked: httpx.Response(401, text="no such key"), waits=waits)
    with pytest.raises(TeacherFailed, match="answers 401: no such key"):
        refusing.ask([], {}, 0.0, 1)
    assert len(waits) == 2


def test_a_teacher_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    def away(asked: Asked) -> Any:
        raise httpx.ConnectError("refused")

    lesson = Lesson(teacher(away), TeachSettings(parallel=1))
    with pytest.raises(TeacherFailed, match="cannot be reached"):
        list(lesson.label([question("Why?")]))


def test_nothing_is_asked_twice_by_a_run_that_goes_on(tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.jsonl"
    asked = [question(f"Where is {word}?") for word in ("plum", "pear")]
    first = teacher(answering(plum="a", pear="b"), notebook)
    made = list(Lesson(first, TeachSettings()).label(asked[:1]))
    with notebook.open("ab") as file:
        file.write(b'{"key": "half')
    again = teacher(answering(plum="other", pear="b"), notebook)
    assert list(Lesson(again, TeachSettings()).label(asked))[:1] == made
    assert (first.asked, again.asked) == (2, 2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Yes", "yes.", True),
        ("card_lost", "card_stolen", False),
        ("Keep it in a jar at 4 degrees", "Keep it in a jar, at 4 degrees.", True),
        ("Keep it in a jar at 4 degrees", "Keep it in a jar at 5 degrees", False),
        ("Keep it in a jar all winter", "Throw the old lamp onto the street", False),
    ],
)
def test_answers_agree_when_they_say_the_same_with_the_same_numbers(
    one: str, other: str, same: bool
) -> None:
    assert agree(one, other, 0.5) is same


def test_a_verdict_is_strict() -> None:
    assert schema_of(Verdict)["properties"]["fit"] == {"type": "boolean"}
    with pytest.raises(Unusable, match="fit"):
        parsed('{"fit": "yes", "reason": ""}', Verdict)


@contextmanager
def served() -> Iterator[tuple[str, list[Asked]]]:
    """A real endpoint, for the command."""
    seen: list[Asked] = []

    class OpenAI(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({**asked, "key": self.headers["authorization"], "path": self.path})
            content = json.dumps(reply('{"answer": "In room 3."}')).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the library calls it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAI)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(*arguments: str) -> str:
    done = CliRunner().invoke(data_app, arguments)
    if isinstance(done.exception, DslmError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_keeps_its_rows_apart_with_everything_hashed(tmp_path: Path) -> None:
    rows = tmp_path / "questions.jsonl"
    rows.write_text('{"question": "Where is the plum?"}\n{"question": "And the pear?"}\n', "utf-8")
    out = tmp_path / "out"
    with served() as (url, seen):
        told = [
            "label",
            str(rows),
            "--url",
            url,
            "--teacher",
            "big",
            "--out",
            str(out),
            "--key",
            "k",
        ]
        assert run(*told, "--dry-run") == f"2 rows, 4 requests to {url} at most\n"
        assert not out.exists()
        assert run(*told).startswith("2 rows in ")
        assert run(*told).startswith("2 rows in ")
    assert len(seen) == 4
    assert {(one["key"], one["path"]) for one in seen} == {("Bearer k", "/v1/chat/completions")}
    made = [one for one in read_examples(out / "rows.jsonl") if isinstance(one, Example)]
    assert [one.synthetic for one in made] == [True, True]
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert (manifest["teacher"], manifest["rows"], manifest["task"]) == ("big", 2, "label")
    assert set(manifest["files"]) == {"rows.jsonl", "rejected.jsonl"}
    assert set(manifest["inputs"]) == {"questions.jsonl"}


def test_the_command_says_what_is_wrong_with_what_it_is_given(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"odd": 1}\n', "utf-8")
    told = ["--teacher", "big", "--out", str(tmp_path / "out")]
    with pytest.raises(BadInput, match="no question"):
        run("label", str(rows), "--url", "http://x/v1", *told)
    with pytest.raises(BadInput, match="holds no text"):
        run("write", str(rows), "--url", "http://x/v1", *told)
    rows.write_text('{"question": "Why?"}\n', "utf-8")
    with pytest.raises(BadInput, match="--url x is none"):
        run("label", str(rows), "--url", "x", *told)
    (tmp_path / "labels").write_text("one\n", "utf-8")
    with pytest.raises(BadInput, match="names 1 labels"):
        run("label", str(rows), "--url", "http://x/v1", "--labels", str(tmp_path / "labels"), *told)
    with pytest.raises(BadInput, match="holds other files"):
        run("label", str(rows), "--url", "http://x/v1", "--teacher", "b", "--out", str(tmp_path))
