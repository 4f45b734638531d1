"""A running service's documents and jobs over HTTP, for the command line and the drills."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import httpx
import orjson

from eval.client import ServiceAway, ServiceRefused, StreamBroken

URL = "http://127.0.0.1:8080"
TRIES = 5
PIECE_BYTES = 256 * 1024


class Remote:
    """One connection, used for one call at a time. ServiceAway, ServiceRefused."""

    def __init__(
        self, url: str, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # trust_env off: a proxy of the machine must never come between us and a local service.
        self._http = httpx.Client(
            base_url=self.url, timeout=300, headers=headers, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def add(self, domain: str, file: Path, name: str) -> dict[str, Any]:
        """Send a file, streamed, to `uploads/<name>`; it replaces what was there."""
        path = f"/v1/domains/{domain}/documents/uploads/{quote(name)}"
        size = {"Content-Length": str(file.stat().st_size)}
        for _ in range(TRIES):
            with file.open("rb") as content:
                pieces = iter(lambda: content.read(PIECE_BYTES), b"")
                response = self._sent("PUT", path, content=pieces, headers=size)
            if response.status_code != 429:
                break
            time.sleep(1)
        return _read(response)

    def remove(self, domain: str, path: str) -> dict[str, Any]:
        return self.call("DELETE", f"/v1/domains/{domain}/documents/{quote(path)}")

    def text(self, domain: str, path: str) -> str:
        """What answers rest on; refused with 404 for what is not indexed or was deleted."""
        found = self.call("GET", f"/v1/domains/{domain}/documents/{quote(path)}")
        return cast(str, found["text"])

    def documents(self, domain: str, state: str | None = None) -> Iterator[dict[str, Any]]:
        """Every file with its state, by path."""
        query = {"limit": "1000", **({"state": state} if state else {})}
        yield from self._pages(f"/v1/domains/{domain}/documents", query)

    def jobs(self, domain: str | None = None) -> Iterator[dict[str, Any]]:
        """The newest first."""
        yield from self._pages(
            "/v1/jobs", {"limit": "100", **({"domain": domain} if domain else {})}
        )

    def start(self, domain: str) -> dict[str, Any]:
        return self.call("POST", f"/v1/domains/{domain}/index")

    def plan(self, domain: str) -> dict[str, Any]:
        """What a job would do."""
        return self.call("POST", f"/v1/domains/{domain}/index", {"dry_run": True})

    def job(self, job_id: str) -> dict[str, Any]:
        return self.call("GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self.call("POST", f"/v1/jobs/{job_id}/cancel")

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """`progress` with the job as it stands, any number of times, then `result`."""
        try:
            with self._http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
                if response.status_code >= 400:
                    response.read()
                    _read(response)
                yield from _events(response)
        except httpx.TransportError as error:
            raise self._away(error) from error

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return _read(self._sent(method, path, json=body))

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        after: dict[str, str] = {}
        while True:
            address = str(httpx.URL(path, params={**query, **after}))
            found = self.call("GET", address)
            yield from found["data"]
            if not found["has_more"]:
                return
            after = {"after": found["last_id"]}

    def _sent(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=json, content=content, headers=headers)
        except httpx.TransportError as error:
            raise self._away(error) from error

    def _away(self, error: httpx.TransportError) -> ServiceAway:
        return ServiceAway(
            f"No service at {self.url} ({type(error).__name__})",
            "Start one with `dslm serve`, or name another with --url",
        )


def files_below(places: list[Path]) -> Iterator[tuple[Path, str]]:
    """Files to send and the names to give them: a folder's are relative to it; hidden ones and
    links are left out."""
    for place in places:
        if not place.is_dir():
            yield place, place.name
            continue
        for parent, folders, names in os.walk(place):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(parent, name)
                if not name.startswith(".") and file.is_file() and not file.is_symlink():
                    yield file, file.relative_to(place).as_posix()


def _read(response: httpx.Response) -> dict[str, Any]:
    if response.status_code < 400:
        return cast(dict[str, Any], orjson.loads(response.content))
    try:
        message = str(orjson.loads(response.content)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = response.text[:200]
    raise ServiceRefused(response.status_code, message)


def _events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, orjson.loads(line[6:])
            if kind == "result":
                return
    raise StreamBroken("The events ended before the job", "Ask for the job, or follow it again")
