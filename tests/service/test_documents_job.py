"""Uploads, a job that is followed, cancelled and gone on with, answers and deletes: all for real.

No engine runs: the domain quotes its documents.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from eval.remote import Remote
from service.app import create_app
from service.bootstrap import build
from service.settings import ServiceSettings
from tests.service.fake_engine import serving

pytestmark = pytest.mark.slow

DOMAIN = """
name = "depot"
[answer]
mode = "quote"
[chunking]
tokens = 48
"""
COLOURS = ["red", "green", "blue", "white", "black", "brown"]
FILES = 60


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("depot")
    documents = folder / "domains" / "depot" / "documents"
    documents.mkdir(parents=True)
    (documents / "own.md").write_text("# Depot\n\nThe depot opens at six.\n", encoding="utf-8")
    (documents.parent / "domain.toml").write_text(DOMAIN, encoding="utf-8")
    settings = ServiceSettings(
        store=folder / "store", domains=folder / "domains", engine_urls="http://127.0.0.1:9"
    )
    with serving(create_app(build(settings))) as address:
        yield address


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Sixty pages with several passages each, and two files that nothing can be made of."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(FILES):
        colour = COLOURS[number % len(COLOURS)]
        parts = [f"# Shelf {number}\n"]
        parts += [
            f"## Crate {crate}\n\nCrate {crate} of shelf {number} is painted {colour} and holds "
            f"{number * 7 + crate} spare valves for the pump in hall {crate}. "
            f"It was last counted on day {number + crate} by the night shift.\n"
            for crate in range(1, 7)
        ]
        (folder / f"shelf-{number:02}.md").write_text("\n".join(parts), encoding="utf-8")
    with (folder / "shelf-33.md").open("a", encoding="utf-8") as shelf:
        shelf.write("\n## Lodger\n\nThe ferret Horatio sleeps in a boot beside the boiler.\n")
    (folder / "poison.txt").write_bytes(b"\x00\x01\x02 text \x00" * 100)
    (folder / "torn.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Cata")
    return folder


def ask(url: str, question: str) -> dict[str, Any]:
    body = {"model": "depot", "messages": [{"role": "user", "content": question}]}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    found: dict[str, Any] = response.raise_for_status().json()
    return found


def sources(answer: dict[str, Any]) -> set[str]:
    return {passage["document"] for passage in answer["dslm"]["passages"]}


def test_a_job_over_uploads_is_followed_cancelled_gone_on_with_and_answers(
    url: str, files: Path
) -> None:
    with Remote(url) as service:
        for file in sorted(files.iterdir()):
            assert service.add("depot", file, file.name)["state"] == "pending"
        plan = service.plan("depot")
        assert len(plan["new"]) == FILES + 3
        cancelled = _cancel_while_embedding(service)
        job = service.start("depot")
        seen = list(service.events(job["id"]))
        assert [kind for kind, _ in seen[-2:]] == ["progress", "result"]
        done = seen[-1][1]
        assert done["status"] == "succeeded", done["error"]
        assert done["result"]["documents"] == FILES + 1
        assert done["result"]["embedded"] < done["result"]["chunks"], "it began anew"
        assert {one["path"] for one in done["quarantined"]} == {
            "uploads/poison.txt",
            "uploads/torn.pdf",
        }
        assert [one["id"] for one in service.jobs("depot")] == [job["id"], cancelled]
        _check_states(service)
        _check_delete(url, service)


def _cancel_while_embedding(service: Remote) -> str:
    job_id: str = service.start("depot")["id"]
    began = 0.0
    for _, job in service.events(job_id):
        progress = job["progress"]
        if not began and progress and progress["phase"] == "embed" and progress["done"]:
            assert service.cancel(job_id)["status"] in {"cancelling", "cancelled"}
            began = time.monotonic()
    assert began, job["error"] or "it was over before it could be cancelled"
    assert job["status"] == "cancelled"
    assert time.monotonic() - began < 10
    return job_id


def _check_states(service: Remote) -> None:
    states = {card["path"]: card for card in service.documents("depot")}
    assert len(states) == FILES + 3
    bad = [states.pop(f"uploads/{name}") for name in ("poison.txt", "torn.pdf")]
    assert {card["state"] for card in bad} == {"quarantined"}
    assert all(card["reasons"] for card in bad)
    assert {card["state"] for card in states.values()} == {"indexed"}
    assert [path for path, card in states.items() if not card["uploaded"]] == ["own.md"]


def _check_delete(url: str, service: Remote) -> None:
    path, question = "uploads/shelf-33.md", "Where does the ferret Horatio sleep?"
    text = f"{url}/v1/domains/depot/documents/{path}"
    assert path in sources(ask(url, question))
    assert httpx.get(text).status_code == 200
    service.remove("depot", path)
    began = time.monotonic()
    assert httpx.get(text).status_code == 404
    assert path not in sources(ask(url, question))
    assert time.monotonic() - began < 5, "it was searched until something else had ended"
    assert [c["path"] for c in service.documents("depot", "deleted")] == [path]
    *_, (_, done) = service.events(service.start("depot")["id"])
    assert done["result"]["documents"] == FILES
    assert list(service.documents("depot", "deleted")) == []
