"""Jobs run in children of their own and tell what became of them."""

import asyncio
import sys

import pytest

from service.errors import Conflict, UnknownName
from service.jobs import Jobs

GOOD = """
import json, sys
print(json.dumps({"event": "progress", "phase": "embed", "done": 1, "total": 2}))
print("not json")
print(json.dumps({"event": "result", "documents": 3, "domain": sys.argv[-1]}))
"""
BAD = "import sys; sys.stderr.write('error: the folder is empty'); sys.exit(2)"
SLOW = "import time; time.sleep(60)"


class Case:
    """Jobs whose child is a few lines of Python."""

    def __init__(self, script: str) -> None:
        self.finished: list[str] = []
        self.jobs = Jobs({}, self._after, (sys.executable, "-c", script))

    async def _after(self, domain: str) -> None:
        self.finished.append(domain)

    async def ended(self, job_id: str) -> dict[str, object]:
        async with asyncio.timeout(20):
            while self.jobs.get(job_id).status == "running" or not self.finished:
                await asyncio.sleep(0.01)
        return self.jobs.get(job_id).describe()


async def test_a_job_shows_its_progress_and_its_result() -> None:
    case = Case(GOOD)
    job = case.jobs.start("support")
    about = await case.ended(job.id)
    assert about["status"] == "succeeded"
    assert about["progress"] == {"phase": "embed", "done": 1, "total": 2}
    assert about["result"] == {"documents": 3, "domain": "support"}
    assert case.finished == ["support"]


async def test_a_failed_job_says_why() -> None:
    case = Case(BAD)
    about = await case.ended(case.jobs.start("support").id)
    assert about["status"] == "failed"
    assert about["error"] == "error: the folder is empty"


async def test_a_domain_has_one_job_at_a_time_and_closing_ends_it() -> None:
    case = Case(SLOW)
    case.jobs.start("support")
    with pytest.raises(Conflict, match="being indexed"):
        case.jobs.start("support")
    case.jobs.start("legal")
    await asyncio.wait_for(case.jobs.close(), 10)


async def test_a_job_that_cannot_even_start_is_told_as_failed() -> None:
    case = Case(GOOD)
    case.jobs = Jobs({}, case._after, ("/nowhere/python",))
    job = case.jobs.start("support")
    async with asyncio.timeout(5):
        while job.status == "running":
            await asyncio.sleep(0.01)
    assert job.status == "failed"
    assert "/nowhere/python" in str(job.error)


def test_an_unknown_job_is_not_found() -> None:
    with pytest.raises(UnknownName, match="job-none"):
        Case(GOOD).jobs.get("job-none")
