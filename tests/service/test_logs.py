"""A line of log is one event, tells its request, and holds no words of a user uncalled for."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.security import SANE_ID
from service.logs import REQUEST_ID, JsonLines, TextLines, fields, set_up_logging
from service.settings import ServiceSettings
from tests.service.product import Product, running

SECRET = "my name is Gerald"


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    log = logging.Logger("dslm.test")
    log.addHandler(handler)
    yield log, output


@given(st.text())
def test_whatever_is_said_a_json_line_is_one_line_of_plain_ascii(text: str) -> None:
    with logged(JsonLines(texts=False)) as (log, output):
        log.warning("heard %s", text, extra=fields(model=text))
    line = output.getvalue()
    assert line.isascii()
    assert line.count("\n") == 1
    assert all(character.isprintable() for character in line[:-1])
    event = json.loads(line)
    assert (event["message"], event["model"]) == (f"heard {text}", text)


@given(st.text())
def test_whatever_is_said_a_text_line_cannot_pose_as_another_or_move_the_terminal(
    text: str,
) -> None:
    with logged(TextLines(texts=False)) as (log, output):
        log.warning("heard %s", text, extra=fields(model=text))
    first, *others = output.getvalue()[:-1].split("\n")
    assert first.startswith("dslm.test: heard ")
    assert all(line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in (first, *others))


@pytest.mark.parametrize("formatter", [JsonLines(texts=False), TextLines(texts=False)])
def test_what_an_unexpected_error_says_is_kept_back_but_where_it_happened_is_told(
    formatter: logging.Formatter,
) -> None:
    with logged(formatter) as (log, output):
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("failed")
    assert SECRET not in output.getvalue()
    assert "ValueError" in output.getvalue()
    assert "test_logs.py" in output.getvalue()


def test_texts_are_written_where_that_is_wished() -> None:
    with logged(JsonLines(texts=True)) as (log, output):
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("failed")
    assert SECRET in output.getvalue()


def test_a_line_tells_the_request_that_it_belongs_to() -> None:
    token = REQUEST_ID.set("req_7")
    try:
        with logged(JsonLines(texts=False)) as (log, output):
            log.warning("well")
    finally:
        REQUEST_ID.reset(token)
    assert json.loads(output.getvalue())["request_id"] == "req_7"


def test_where_no_person_sits_the_log_is_json_and_others_are_heard_from_warnings_on() -> None:
    root, ours, output = logging.getLogger(), logging.getLogger("dslm"), io.StringIO()
    before = root.handlers[:], root.level, ours.level
    root.handlers.clear()  # basicConfig closes what it takes away
    try:
        set_up_logging(ServiceSettings(), output)
        logging.getLogger("dslm.x").info("ours")
        logging.getLogger("somebody.else").info("theirs")
        logging.getLogger("somebody.else").warning("theirs, aloud")
    finally:
        root.handlers[:], root.level = before[:2]
        ours.setLevel(before[2])
    said = [json.loads(line)["message"] for line in output.getvalue().splitlines()]
    assert said == ["ours", "theirs, aloud"]


@pytest.mark.parametrize("sent", ["abc-1.2:3_4", "0" * 128])
def test_a_plain_request_id_is_taken_up_and_given_back(product: Product, sent: str) -> None:
    assert product.get("/health", **{"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "0" * 129, "-rf", 'x","level":"error', "\\n", "é"])
def test_any_other_request_id_is_replaced(product: Product, sent: str) -> None:
    headers = {"x-request-id": sent.encode()}
    given_back = product.get("/health", **headers).headers["x-request-id"]  # type: ignore[arg-type]
    assert given_back != sent
    assert SANE_ID.fullmatch(given_back.encode())


@pytest.mark.parametrize("texts", [False, True])
def test_an_answer_leaves_one_line_without_the_question_unless_that_is_wished(
    indexed: tuple[Path, Path], caplog: pytest.LogCaptureFixture, texts: bool
) -> None:
    with running(*indexed, log_requests=True, log_texts=texts) as product:
        with caplog.at_level(logging.INFO, "dslm.requests"):
            assert product.chat(question=f"When do I prune roses? {SECRET}").status_code == 200
            product.until(lambda: caplog.records)
    (record,) = [one for one in caplog.records if one.name == "dslm.requests"]
    line = JsonLines(texts=texts).format(record)
    event = json.loads(line)
    assert (event["domain"], event["status"], event["mode"]) == ("garden", 200, "generate")
    assert {"admission", "retrieval", "compose", "engine"} == set(event["phases"])
    assert (SECRET in line) == texts
