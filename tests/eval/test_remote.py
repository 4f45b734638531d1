"""Documents and jobs of a running service, as a client sees them."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from eval.client import ServiceAway, ServiceRefused, StreamBroken
from eval.remote import Remote, files_below

Answer = Callable[[httpx.Request], httpx.Response]


def talking(answer: Answer, key: str | None = None) -> Remote:
    return Remote("http://service", key, httpx.MockTransport(answer))


def test_a_file_is_sent_as_it_is_under_its_quoted_name(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 600_000)
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert len(request.read()) == 600_000
        seen.append(request)
        return httpx.Response(200, json={"path": "uploads/b c/é?.md"})

    with talking(answer, "secret") as remote:
        remote.add("garden", file, "b c/é?.md")
    (request,) = seen
    assert request.url.raw_path == b"/v1/domains/garden/documents/uploads/b%20c/%C3%A9%3F.md"
    assert request.headers["Content-Length"] == "600000"
    assert request.headers["Authorization"] == "Bearer secret"


def test_a_busy_service_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    file = tmp_path / "a"
    file.write_bytes(b"text")
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return httpx.Response(429 if len(bodies) < 3 else 200, json={"path": "uploads/a"})

    with talking(answer) as remote:
        remote.add("garden", file, "a")
    assert bodies == [b"text"] * 3


def test_lists_are_read_to_their_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        after = request.url.params.get("after")
        number = int(after) + 1 if after else 0
        page = {"data": [{"id": str(number)}], "has_more": number < 2, "last_id": str(number)}
        assert request.url.params.get("state") == "pending"
        return httpx.Response(200, json=page)

    with talking(answer) as remote:
        assert [card["id"] for card in remote.documents("garden", "pending")] == ["0", "1", "2"]


def test_refusals_carry_the_services_words() -> None:
    envelope = {"error": {"message": "There is no job 'x'"}}
    with talking(lambda _: httpx.Response(404, json=envelope)) as remote:
        with pytest.raises(ServiceRefused, match="404: There is no job 'x'"):
            remote.job("x")
        with pytest.raises(ServiceRefused, match="404: There is no job 'x'"):
            list(remote.events("x"))
    with talking(lambda _: httpx.Response(502, text="gateway")) as remote:
        with pytest.raises(ServiceRefused, match="502: gateway"):
            remote.job("x")


def test_an_absent_service_is_named() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with talking(answer) as remote:
        with pytest.raises(ServiceAway, match="http://service"):
            remote.start("garden")
        with pytest.raises(ServiceAway, match="http://service"):
            list(remote.events("job-1"))


def test_events_end_with_the_result_or_are_broken() -> None:
    blocks = [("progress", {"done": 1}), ("result", {"status": "succeeded"})]
    whole = "".join(f"event: {kind}\nid: 1\ndata: {json.dumps(d)}\n\n" for kind, d in blocks)
    text = ": nothing new\n\n" + whole
    with talking(lambda _: httpx.Response(200, text=text)) as remote:
        assert list(remote.events("job-1")) == blocks
    cut = text[: text.index("event: result")]
    with talking(lambda _: httpx.Response(200, text=cut)) as remote:
        with pytest.raises(StreamBroken):
            list(remote.events("job-1"))


def test_files_are_named_by_their_place_below_what_was_given(tmp_path: Path) -> None:
    for name in ("in/b/c.md", "in/a.md", "in/.hidden", "in/.git/x", "one.md"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "in" / "link.md").symlink_to(tmp_path / "one.md")
    found = files_below([tmp_path / "in", tmp_path / "one.md"])
    assert [name for _, name in found] == ["a.md", "b/c.md", "one.md"]
