"""Documents over HTTP: taken in whole or not at all, within bounds, listed with their states."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api import documents as documents_module
from service.api import receiving
from service.app import create_app
from service.bootstrap import build
from service.settings import ServiceSettings
from service.uploads import INCOMING
from tests.service.fake_engine import serving

ALL = "/v1/domains/garden/documents"


class Place:
    """A service without an engine over one domain that was never indexed."""

    def __init__(self, url: str, store: Path) -> None:
        self.client = httpx.Client(base_url=url, timeout=20, trust_env=False)
        self.port = int(url.rpartition(":")[2])
        self.uploads = store / "domains" / "garden" / "uploads"

    def put(self, name: str, content: bytes = b"# Roses", **headers: str) -> httpx.Response:
        path = f"{ALL}/uploads/{name}"
        return self.client.put(path, content=content, headers=headers)

    def post(self, *files: tuple[str, bytes], **more: Any) -> httpx.Response:
        sent = [("file", (name, content)) for name, content in files]
        return self.client.post(ALL, files=sent, **more)

    def listed(self, **query: Any) -> list[tuple[str, str]]:
        found = self.client.get(ALL, params=query).json()["data"]
        return [(card["path"], card["state"]) for card in found]

    def nothing_is_left(self) -> bool:
        return not any((self.uploads / INCOMING).glob("*"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("served")
    documents = folder / "domains" / "garden" / "documents"
    documents.mkdir(parents=True)
    (documents / "own.md").write_text("# Own\n\nIt is here.\n", encoding="utf-8")
    (documents.parent / "domain.toml").write_text('title = "Garden"\n', encoding="utf-8")
    settings = ServiceSettings(
        store=folder / "store",
        domains=folder / "domains",
        engine_urls="http://127.0.0.1:9",
        max_upload_mb=1,
        max_upload_request_mb=2,
        max_upload_files=5,
    )
    with serving(create_app(build(settings))) as url:
        place = Place(url, folder / "store")
        with place.client:
            yield place


@pytest.fixture
def place(served: Place) -> Iterator[Place]:
    yield served
    for path, _ in served.listed():
        served.client.delete(f"{ALL}/{path}").raise_for_status()
    assert served.nothing_is_left()


def code(response: httpx.Response) -> tuple[int, str | None]:
    """The status and OpenAI's code, out of an envelope that is whole."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_release_has_no_documents_of_its_own_to_list_or_delete(place: Place, method: str) -> None:
    path = ALL.replace("garden", "garden@3") + ("/uploads/a.md" if method == "DELETE" else "")
    assert code(place.client.request(method, path)) == (404, "model_not_found")


def test_a_form_of_several_files_is_taken(place: Place) -> None:
    response = place.post(("a.md", b"# A"), ("notes/b c.txt", b"B"), data={"purpose": "assistants"})
    assert response.status_code == 200
    cards = response.json()["data"]
    assert [(card["path"], card["bytes"], card["state"]) for card in cards] == [
        ("uploads/a.md", 3, "pending"),
        ("uploads/notes/b c.txt", 1, "pending"),
    ]
    assert place.listed() == [("uploads/a.md", "pending"), ("uploads/notes/b c.txt", "pending")]
    assert (place.uploads / "notes" / "b c.txt").read_bytes() == b"B"


def test_a_body_is_put_to_its_path_and_replaces_what_was_there(place: Place) -> None:
    assert place.put("caf%C3%A9/a.md", b"old").json()["path"] == "uploads/café/a.md"
    assert place.put("café/a.md", b"newer").json()["bytes"] == 5
    assert code(place.put("café/a.md", b"x", **{"If-None-Match": "*"})) == (412, "already_there")
    assert (place.uploads / "café" / "a.md").read_bytes() == b"newer"


def test_lists_come_in_pages(place: Place) -> None:
    place.post(*((f"{n}.md", b"x") for n in range(5)))
    first = place.client.get(ALL, params={"limit": 3}).json()
    assert (first["object"], first["has_more"], first["last_id"]) == ("list", True, "uploads/2.md")
    rest = place.client.get(ALL, params={"limit": 3, "after": first["last_id"]}).json()
    assert [card["id"] for card in rest["data"]] == ["uploads/3.md", "uploads/4.md"]
    assert rest["has_more"] is False
    assert place.listed(state="indexed") == []
    assert code(place.client.get(ALL, params={"limit": 0}))[0] == 400
    assert code(place.client.get(ALL, params={"state": "lost"}))[0] == 400


def test_a_deleted_document_is_gone_at_once(place: Place) -> None:
    place.put("a.md")
    assert place.client.delete(f"{ALL}/uploads/a.md").json() == {
        "id": "uploads/a.md",
        "object": "document",
        "deleted": True,
    }
    assert place.listed() == []
    assert code(place.client.delete(f"{ALL}/uploads/a.md")) == (404, "not_found")


@pytest.mark.parametrize("name", ["..%2f..%2fx.md", "%2e%2e/x.md", ".x", "a%00b", "a%5cb", "%ff"])
def test_names_that_lead_elsewhere_are_refused(place: Place, name: str) -> None:
    before = sorted(place.uploads.parent.iterdir())
    assert code(place.put(name))[0] in {400, 404}
    assert code(place.client.delete(f"{ALL}/uploads/{name}"))[0] in {400, 404}
    assert sorted(place.uploads.parent.iterdir()) == before


def test_a_form_may_not_lead_elsewhere_either(place: Place) -> None:
    assert code(place.post(("fine.md", b"x"), ("../../x.md", b"x")))[0] == 400
    assert place.listed() == []


def test_only_uploads_can_be_put_and_deleted(place: Place) -> None:
    assert code(place.client.put(f"{ALL}/own.md", content=b"x"))[0] == 400
    assert code(place.client.delete(f"{ALL}/own.md")) == (404, "not_found"), "never indexed"
    assert code(place.client.put("/v1/domains/none/documents/uploads/a", content=b"x"))[0] == 404
    assert code(place.client.get("/v1/domains/none/documents"))[0] == 404


def test_a_part_of_an_upload_cannot_be_deleted_alone(place: Place) -> None:
    place.put("rows.jsonl")
    assert code(place.client.delete(f"{ALL}/uploads/rows.jsonl/7")) == (409, "conflict")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data; boundary=X"),
        (b"--X\r\n", "multipart/form-data; boundary=X"),
        (b"nonsense", "multipart/form-data; boundary=X"),
        (b"{}", "application/json"),
        (b"x", "multipart/form-data"),
        (b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--X--\r\n', None),
        (b'--X\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n1\r\n--X--\r\n', None),
        (b'--X\r\nContent-Disposition: form-data; name="f"; filename="\xff"\r\n\r\n', None),
        (b'--X\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nhalf', None),
        (b"--X\r\n" + b"A: b\r\n" * 50 + b"\r\n", None),
    ],
)
def test_what_is_no_form_with_files_is_refused(
    place: Place, content: bytes, kind: str | None
) -> None:
    kind = kind or "multipart/form-data; boundary=X"
    response = place.client.post(ALL, content=content, headers={"Content-Type": kind})
    assert code(response)[0] == 400
    assert place.listed() == []


def test_bounds_on_a_file_a_request_and_the_number_hold(place: Place) -> None:
    assert code(place.put("large.md", b"x" * (2**20 + 1)))[0] == 413
    assert code(place.post(("large.md", b"x" * (2**20 + 1))))[0] == 413
    assert code(place.post(*((f"{n}", b"x") for n in range(6))))[0] == 413
    assert code(place.post(*((f"{n}", b"x" * 2**19) for n in range(5))))[0] == 413
    assert place.put("right.md", b"x" * 2**20).status_code == 200
    assert place.listed() == [("uploads/right.md", "pending")]


def test_a_body_without_a_length_is_bounded_as_well(place: Place) -> None:
    pieces = (b"x" * 65536 for _ in range(17))
    response = place.client.put(f"{ALL}/uploads/large.md", content=pieces)
    assert code(response)[0] == 413
    pieces = (b"x" * 65536 for _ in range(3))
    response = place.client.put(f"{ALL}/uploads/some.md", content=pieces)
    assert response.json()["bytes"] == 3 * 65536


def test_a_client_that_dies_leaves_nothing_behind(place: Place) -> None:
    with raw(place.port) as connection:
        connection.sendall(head("a.md", 10_000) + b"x" * 5_000)
        wait(lambda: not place.nothing_is_left())
    wait(place.nothing_is_left)
    assert place.listed() == []


def test_a_client_that_is_too_slow_is_cut_off(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = receiving.Patience
    monkeypatch.setattr(
        documents_module, "Patience", lambda most, seconds: real(most, seconds, 0.3, 10_000)
    )
    with raw(place.port) as connection:
        connection.sendall(head("a.md", 10_000))
        began = time.monotonic()
        connection.settimeout(0.05)
        answer = b""
        while not answer and time.monotonic() - began < 10:
            connection.sendall(b"x")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
    assert b" 408 " in answer.splitlines()[0]
    assert time.monotonic() - began < 5
    assert place.listed() == []


def test_more_uploads_at_once_than_are_taken_are_told_to_wait(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "UPLOADS_AT_ONCE", 1)
    with raw(place.port) as connection:
        connection.sendall(head("a.md", 10) + b"x")
        wait(lambda: not place.nothing_is_left())
        response = place.put("b.md")
        assert code(response) == (429, "overloaded")
        assert response.headers["Retry-After"] == "1"
    wait(place.nothing_is_left)


def raw(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def head(name: str, length: int) -> bytes:
    lines = [
        f"PUT {ALL}/uploads/{name} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {length}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def wait(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)
