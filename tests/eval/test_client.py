"""The client against a small application of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from eval.client import Client, ServiceAway, ServiceRefused, StreamBroken

ASKED = [{"role": "user", "content": "Why?"}]
ANNOTATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 3, "title": "t", "url": "/a.md"},
    "document": "a.md",
    "chunk": "c1",
    "start": 4,
    "end": 7,
    "quote": "So.",
}
ABOUT = {"domain": "law", "release": 1, "refused": False, "passages": []}
WHOLE = {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "[1] So.", "annotations": [ANNOTATION]},
            "finish_reason": "stop",
        }
    ],
    "dslm": ABOUT,
}
LAST = {"content": "", "annotations": [ANNOTATION]}
EVENTS: list[dict[str, Any]] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"index": 0, "delta": {"content": "[1] "}}]},
    {"choices": [{"index": 0, "delta": {"content": "So."}}]},
    {"choices": [{"index": 0, "delta": LAST, "finish_reason": "stop"}], "dslm": ABOUT},
    {"choices": [], "usage": {"total_tokens": 3}},
]


def client_of(
    chat: Callable[[Request], Any], *, concurrency: int = 4, others: tuple[Route, ...] = ()
) -> Client:
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), *others])
    transport = httpx.ASGITransport(app=app)
    return Client("http://service", concurrency=concurrency, transport=transport)


def streaming(*payloads: bytes) -> Callable[[Request], Any]:
    async def lines() -> AsyncIterator[bytes]:
        for payload in payloads:
            yield b"data: " + payload + b"\n\n"

    async def chat(_: Request) -> Response:
        return StreamingResponse(lines(), media_type="text/event-stream")

    return chat


async def test_an_answer_comes_with_its_citations_and_what_it_says_of_itself() -> None:
    bodies = []

    async def chat(request: Request) -> Response:
        bodies.append(await request.json())
        return JSONResponse(WHOLE)

    async with client_of(chat) as client:
        answer = await client.chat("law", ASKED, {"temperature": 0})
    assert bodies == [{"model": "law", "messages": ASKED, "temperature": 0}]
    assert (answer.text, answer.finish_reason, answer.dslm) == ("[1] So.", "stop", ABOUT)
    (citation,) = answer.citations
    assert (citation.document, citation.start, citation.end) == ("a.md", 4, 7)
    assert citation.quote == "So."
    assert answer.seconds > 0


async def test_an_endpoint_that_is_not_ours_answers_without_citations() -> None:
    async def chat(_: Request) -> Response:
        return JSONResponse({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]})

    async with client_of(chat) as client:
        answer = await client.chat("gpt", ASKED)
    assert (answer.text, answer.citations, answer.dslm) == ("", (), {})


async def test_a_stream_adds_up_to_the_whole_answer() -> None:
    async with client_of(streaming(*map(orjson.dumps, EVENTS), b"[DONE]")) as client:
        answer = await client.streamed("law", ASKED)
    assert (answer.text, answer.finish_reason, answer.dslm) == ("[1] So.", "stop", ABOUT)
    assert answer.pieces == ("[1] ", "So.")
    assert [c.quote for c in answer.citations] == ["So."]


async def test_a_stream_that_reports_an_error_is_broken() -> None:
    error = orjson.dumps({"error": {"message": "the engine went away"}})
    async with client_of(streaming(orjson.dumps(EVENTS[1]), error)) as client:
        with pytest.raises(StreamBroken, match="the engine went away"):
            await client.streamed("law", ASKED)


async def test_a_stream_without_its_end_is_broken() -> None:
    async with client_of(streaming(orjson.dumps(EVENTS[1]))) as client:
        with pytest.raises(StreamBroken, match="DONE"):
            await client.streamed("law", ASKED)


async def refuse(_: Request) -> Response:
    return JSONResponse({"error": {"message": "There is no domain 'law'"}}, 404)


async def test_a_refusal_carries_status_and_message() -> None:
    async with client_of(refuse) as client:
        with pytest.raises(ServiceRefused, match="404: There is no domain 'law'") as caught:
            await client.chat("law", ASKED)
        with pytest.raises(ServiceRefused, match="404: There is no domain 'law'"):
            await client.streamed("law", ASKED)
    assert caught.value.status == 404


async def test_a_refusal_that_is_not_json_is_shown_as_it_is() -> None:
    async def chat(_: Request) -> Response:
        return Response("Bad gateway", 502)

    async with client_of(chat) as client:
        with pytest.raises(ServiceRefused, match="502: Bad gateway"):
            await client.chat("law", ASKED)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_service_is_asked_again(status: int) -> None:
    replies = [Response("", status, {"Retry-After": "0"}), JSONResponse(WHOLE)]

    async def chat(_: Request) -> Response:
        return replies.pop(0)

    async with client_of(chat) as client:
        assert (await client.chat("law", ASKED)).text == "[1] So."
    assert not replies


async def test_a_service_that_stays_busy_is_given_up() -> None:
    tries = []

    async def chat(_: Request) -> Response:
        tries.append(1)
        return Response("", 503, {"Retry-After": "0"})

    async with client_of(chat) as client:
        with pytest.raises(ServiceRefused, match="503"):
            await client.chat("law", ASKED)
    assert 1 < len(tries) < 10


async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    now, most = 0, 0

    async def chat(_: Request) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return JSONResponse(WHOLE)

    async with client_of(chat, concurrency=3) as client:
        await asyncio.gather(*(client.chat("law", ASKED) for _ in range(9)))
    assert most == 3


async def test_nothing_at_the_address_is_said_with_the_remedy() -> None:
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ServiceAway, match=r"127\.0\.0\.1:9.*make serve"):
            await client.chat("law", ASKED)
        with pytest.raises(ServiceAway, match="make serve"):
            await client.streamed("law", ASKED)
        assert not await client.is_ready()


async def test_domain_calls_go_to_their_paths() -> None:
    seen = []

    async def note(request: Request) -> Response:
        body = await request.body()
        seen.append((request.method, request.scope["raw_path"].decode(), body))
        return JSONResponse({"object": "release", "number": 2, "text": "words"})

    route = Route("/{path:path}", note, methods=["GET", "PUT", "POST"])
    async with client_of(refuse, others=(route,)) as client:
        assert (await client.set_adapter("law", "style@2"))["number"] == 2
        await client.set_adapter("law", None)
        await client.rollback("law")
        assert await client.document("law", "a folder/b.md") == "words"
    assert seen == [
        ("PUT", "/v1/domains/law/adapter", b'{"adapter":"style@2"}'),
        ("PUT", "/v1/domains/law/adapter", b'{"adapter":null}'),
        ("POST", "/v1/domains/law/rollback", b""),
        ("GET", "/v1/domains/law/documents/a%20folder/b.md", b""),
    ]
