"""The teacher: an OpenAI-compatible endpoint, asked with patience, and never twice for one thing.

Knows nothing of rows. What a request gave lies in a file of JSON lines under the request's digest,
so that a run which was cut short goes on where it ended.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from adapters.lines import append_line, read_lines
from adapters.manifest import Pinned
from adapters.prompt import Message
from indexer.errors import DslmError

_AGAIN: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_LONGEST_WAIT: Final = 60.0


class TeacherFailed(DslmError):
    """The endpoint refuses what it is asked, or cannot be reached: no row can be made."""


class Unusable(Exception):
    """One reply that is none: the row is left out with this reason, the others go on."""

    def __init__(self, reason: str, kind: str = "reply") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class Said(Pinned):
    """One line of the notebook: what the request of this digest gave."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to ask; `url` ends in /v1. `structured`: JSON schemas are sent along."""

    url: str
    model: str
    key: str = ""
    seconds: float = 120.0
    attempts: int = 5
    max_tokens: int = 1024
    structured: bool = True


class Teacher:
    """Asks from any number of threads; close it."""

    def __init__(
        self,
        endpoint: Endpoint,
        notebook: Path | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self.endpoint = endpoint
        self._client = httpx.Client(
            base_url=endpoint.url.rstrip("/"),
            timeout=endpoint.seconds,
            headers=headers,
            transport=transport,
        )
        self._sleep = sleep
        self._notebook = notebook
        lines = read_lines(notebook, Said) if notebook else ()
        self._known = {line.key: line.text for line in lines if line}
        self._writing = threading.Lock()
        self.asked = 0

    def ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, seed: int
    ) -> str:
        """What it replies. Unusable for a reply that is cut off; TeacherFailed if it refuses."""
        body = self._body(messages, schema, temperature, seed)
        content = json.dumps([self.endpoint.url, body], sort_keys=True).encode()
        key = hashlib.sha256(content).hexdigest()
        if key not in self._known:
            text = _text_of(self._post(body))
            with self._writing:
                self.asked += 1
                self._known[key] = text
                if self._notebook:
                    line = Said(key=key, text=text).model_dump_json().encode()
                    append_line(self._notebook, line, durable=False)
        return self._known[key]

    def close(self) -> None:
        self._client.close()

    def _body(
        self, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, seed: int
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "temperature": temperature,
            "seed": seed,
            "max_tokens": self.endpoint.max_tokens,
        }
        if self.endpoint.structured:
            named = {"name": "reply", "schema": dict(schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _post(self, body: Mapping[str, Any]) -> Any:
        """Again and again where that may help, for as long as the endpoint asks for."""
        for attempt in range(self.endpoint.attempts):
            wait = min(2.0**attempt, _LONGEST_WAIT)
            try:
                answer = self._client.post("/chat/completions", json=body)
            except httpx.HTTPError as error:
                trouble = f"cannot be reached ({error})"
            else:
                if answer.is_success:
                    return _json(answer)
                trouble = f"answers {answer.status_code}: {answer.text[:200]}"
                if answer.status_code not in _AGAIN:
                    break
                wait = _asked_wait(answer, wait)
            if attempt + 1 < self.endpoint.attempts:
                self._sleep(wait)
        raise TeacherFailed(
            f"The teacher {self.endpoint.url} {trouble}",
            "Check URL, model and key; what was answered is kept, the same command goes on",
        )


def _asked_wait(answer: httpx.Response, otherwise: float) -> float:
    """Retry-After in seconds, within reason."""
    said = answer.headers.get("retry-after", "")
    return min(float(said), _LONGEST_WAIT) if said.isdecimal() else otherwise


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise Unusable("the reply is no JSON") from error


def _text_of(reply: Any) -> str:
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise Unusable("the reply has no choice with a message") from error
    if choice.get("finish_reason") == "length":
        raise Unusable("the reply was cut off")
    if not isinstance(text, str) or not text.strip():
        raise Unusable("the reply is empty")
    return text
