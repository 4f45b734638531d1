"""Show 6: `dslm eval run` is killed by SIGKILL, goes on, and reports the very same bytes."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.live import ROOT
from tests.service.fake_engine import serving

COUNT = 20


class Endpoint:
    """Answers sums; once `most` answers were given, the others wait until `open` is set."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.most = 10**9
        self.open = threading.Event()
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        question = body["messages"][-1]["content"]
        if self.asked.total() >= self.most:
            while not self.open.is_set() and not await request.is_disconnected():
                await _pause()
            return Response(status_code=503)
        self.asked[f"{body['model']} {question}"] += 1
        n = int(question.split()[2])
        text = f"It is {2 * n}." if body["model"] == "knows" or n % 3 else "Nine: 9"
        return JSONResponse(
            {
                "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 30 + n, "completion_tokens": 5},
            }
        )


async def _pause() -> None:
    import asyncio

    await asyncio.sleep(0.01)


@pytest.fixture
def served() -> Iterator[tuple[Endpoint, str]]:
    endpoint = Endpoint()
    with serving(endpoint.app) as url:
        yield endpoint, url
        endpoint.open.set()


def write_study(folder: Path) -> Path:
    rows = [{"question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(COUNT)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    told: dict[str, Any] = {
        "name": "sums",
        "tasks": [{"name": "plus", "kind": "number", "rows": "rows.jsonl"}],
        "conditions": [{"name": name, "model": name} for name in ("knows", "guesses")],
        "concurrency": 3,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


def command(study: Path, url: str, out: Path) -> list[str]:
    words = ["eval", "run", str(study), "--url", url, "--out", str(out), "--no-times"]
    return [sys.executable, "-m", "dslm", *words, "--html", str(out.with_suffix(".html"))]


def lines(out: Path) -> int:
    file = out / "answers.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def test_a_killed_run_goes_on_and_gives_the_same_report_byte_for_byte(
    tmp_path: Path, served: tuple[Endpoint, str]
) -> None:
    endpoint, url = served
    study = write_study(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(study, url, whole), cwd=ROOT, check=True, capture_output=True)
    assert endpoint.asked.total() == 2 * COUNT

    endpoint.asked.clear()
    endpoint.most = 9
    killed = subprocess.Popen(
        command(study, url, cut), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while lines(cut) < 9:
        assert killed.poll() is None
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -9
    assert lines(cut) == 9
    with (cut / "answers.jsonl").open("ab") as file:
        file.write(b'{"task": "plus", "condit')  # what a kill in the middle of a write leaves

    endpoint.most = 10**9
    subprocess.run(command(study, url, cut), cwd=ROOT, check=True, capture_output=True)
    assert set(endpoint.asked.values()) == {1}, "nothing is asked twice"
    assert endpoint.asked.total() == 2 * COUNT
    assert (cut / "report.md").read_bytes() == (whole / "report.md").read_bytes()
    assert cut.with_suffix(".html").read_bytes() == whole.with_suffix(".html").read_bytes()
