"""Jobs over HTTP: started, planned, listed, followed and cancelled; the child is a few lines."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from eval.remote import Remote
from service.api import jobs as jobs_module
from service.app import create_app
from service.bootstrap import build
from service.child import ChildSettings
from service.settings import ServiceSettings
from tests.service.fake_engine import serving

CHILD = """
import json, signal, sys, time
def say(**event): print(json.dumps(event), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
if "--dry-run" in sys.argv:
    say(event="plan", domain=sys.argv[-1], new=["a.md"])
else:
    say(event="progress", phase="embed", done=1, total=2, rate=3.0, left=0.5)
    if sys.argv[-1] == "slow":
        time.sleep(60)
    left_out = [{"path": "x.pdf", "reason": "is damaged"}]
    say(event="result", domain=sys.argv[-1], documents=1, rejected=left_out)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("jobs")
    for name in ("quick", "slow"):
        documents = folder / "domains" / name / "documents"
        documents.mkdir(parents=True)
        (documents.parent / "domain.toml").write_text("", encoding="utf-8")
    settings = ServiceSettings(
        store=folder / "store", domains=folder / "domains", engine_urls="http://127.0.0.1:9"
    )
    service = build(settings)
    service.jobs._child = ChildSettings(dict(os.environ), (sys.executable, "-c", CHILD))
    with serving(create_app(service)) as address:
        yield address


@pytest.fixture
def remote(url: str) -> Iterator[Remote]:
    with Remote(url) as remote:
        yield remote
        for job in remote.jobs():
            if job["ended_at"] is None:
                remote.cancel(job["id"])
                list(remote.events(job["id"]))


def index(url: str, body: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/domains/quick/index", json=body)


def test_a_job_is_answered_with_202_and_ends_with_its_result(url: str, remote: Remote) -> None:
    response = index(url, {})
    assert response.status_code == 202
    job = response.json()
    assert (job["object"], job["domain"]) == ("job", "quick")
    *before, (kind, done) = remote.events(job["id"])
    assert {kind for kind, _ in before} <= {"progress"}
    assert (kind, done["status"]) == ("result", "succeeded")
    assert done["result"] == {"domain": "quick", "documents": 1}
    assert done["progress"]["rate"] == 3.0
    assert remote.job(job["id"]) == done
    assert done["quarantined"] == [{"path": "x.pdf", "reason": "is damaged"}]
    (listed, *_) = remote.jobs("quick")
    assert listed == {key: value for key, value in done.items() if key != "quarantined"}


def test_a_dry_run_answers_what_would_be_done_and_is_no_job(url: str, remote: Remote) -> None:
    before = list(remote.jobs())
    response = index(url, {"dry_run": True})
    assert response.json() == {"object": "plan", "domain": "quick", "new": ["a.md"]}
    assert list(remote.jobs()) == before


@pytest.mark.parametrize("body", [[], {"dry_run": "yes"}, {"wet_run": True}, "x"])
def test_a_body_that_is_not_understood_starts_nothing(
    url: str, remote: Remote, body: object
) -> None:
    before = list(remote.jobs())
    assert index(url, body).status_code == 400
    assert list(remote.jobs()) == before


def test_a_running_job_is_cancelled_and_refuses_another_of_its_domain(
    url: str, remote: Remote
) -> None:
    job = remote.start("slow")
    again = httpx.post(f"{url}/v1/domains/slow/index")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    events = remote.events(job["id"])
    while not next(events)[1]["progress"]:
        pass
    assert remote.cancel(job["id"])["status"] in {"cancelling", "cancelled"}
    assert list(events)[-1][1]["status"] == "cancelled"
    late = httpx.post(f"{url}/v1/jobs/{job['id']}/cancel")
    assert late.status_code == 409


def test_the_stream_is_server_sent_events_with_a_heartbeat(
    url: str, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "HEARTBEAT_SECONDS", 0.05)
    job = remote.start("slow")
    with httpx.stream("GET", f"{url}/v1/jobs/{job['id']}/events", timeout=10) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks, text = [], ""
        for piece in response.iter_text():
            text += piece
            *whole, text = text.split("\n\n")
            blocks += whole
            if any(block.startswith(":") for block in blocks) and len(blocks) > 2:
                break
    first = blocks[0].split("\n")
    assert first[:2] == ["event: progress", "id: 1"]
    assert json.loads(first[2].removeprefix("data: "))["id"] == job["id"]


def test_lists_are_paged_and_filtered(url: str, remote: Remote) -> None:
    for _ in range(3):
        list(remote.events(remote.start("quick")["id"]))
    ids = [job["id"] for job in remote.jobs("quick")]
    page = httpx.get(f"{url}/v1/jobs", params={"limit": 2, "domain": "quick"}).json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[:2], True)
    query = {"after": ids[1], "domain": "quick", "limit": "100"}
    rest = httpx.get(f"{url}/v1/jobs", params=query).json()
    assert [job["id"] for job in rest["data"]] == ids[2:]
    assert httpx.get(f"{url}/v1/jobs", params={"status": "queued"}).json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/job-none"),
        ("GET", "/v1/jobs/job-none/events"),
        ("POST", "/v1/jobs/job-none/cancel"),
        ("GET", "/v1/jobs?after=job-none"),
        ("POST", "/v1/domains/none/index"),
    ],
)
def test_what_does_not_exist_is_404(url: str, method: str, path: str) -> None:
    response = httpx.request(method, url + path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"
