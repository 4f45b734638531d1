"""Jobs run in children of their own, tell what became of them, and outlive the service."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from indexer.errors import StoreError
from service import jobs as jobs_module
from service.child import ChildSettings, is_alive, process_of
from service.errors import Conflict, InvalidRequest, Overloaded, ServiceError, UnknownName
from service.job import Job
from service.jobs import Jobs

GOOD = """
import json, sys
def say(**event): print(json.dumps(event), flush=True)
say(event="progress", phase="read", done=3, total=3)
say(event="progress", phase="embed", done=1, total=2, rate=5.0, left=0.2)
print("not json")
left_out = [{"path": "uploads/x.pdf", "reason": "is broken"}]
say(event="result", documents=3, domain=sys.argv[-1], rejected=left_out)
"""
PLAN = """
import json, sys
assert sys.argv[1:] == ["--dry-run", "support"], sys.argv
print(json.dumps({"event": "plan", "new": ["a.md"]}))
"""
BAD = "import sys; sys.stderr.write('error: the folder is empty'); sys.exit(2)"
# Cancelled as the real one is: it takes a moment, keeps what it has done and ends with 130.
SLOW = """
import json, signal, sys, time
def end(*_): time.sleep(0.1); sys.exit(130)
signal.signal(signal.SIGTERM, end)
for step in range(10_000):
    print(json.dumps({"event": "progress", "phase": "embed", "done": step, "total": 9}), flush=True)
    time.sleep(0.05)
"""
DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
kid = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"event": "progress", "phase": "embed", "done": %d, "total": 1}' % kid.pid, flush=True)
time.sleep(600)
"""
ORPHANING = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
os.kill(os.getpid(), 9)
"""


class Case:
    """Jobs whose child is a few lines of Python; `finished` are the domains told as such."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished: list[str] = []
        self.refused = ""  # why what was released is not answered from

    @asynccontextmanager
    async def jobs(self, script: str, most: int = 1, stop: float = 10.0) -> AsyncIterator[Jobs]:
        command = (sys.executable, "-c", script)
        child = ChildSettings(dict(os.environ), command, stop_seconds=stop)
        jobs = Jobs(self.folder, child, self._after, most)
        await jobs.open(["support", "legal"])
        try:
            yield jobs
        finally:
            await jobs.close()

    async def _after(self, domain: str) -> None:
        self.finished.append(domain)
        if self.refused:
            raise ServiceError(self.refused)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "jobs")


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def ended(jobs: Jobs, job: Job) -> Job:
    await until(lambda: job.has_ended)
    return jobs.get(job.id)


async def test_a_job_shows_its_phases_its_result_and_what_it_left_out(case: Case) -> None:
    async with case.jobs(GOOD) as jobs:
        about = (await ended(jobs, await jobs.start("support"))).describe()
    assert about["status"] == "succeeded"
    assert about["progress"]["phase"] == "embed"
    assert (about["progress"]["rate"], about["progress"]["seconds_left"]) == (5.0, 0.2)
    assert list(about["phases"]) == ["read", "embed"]
    assert about["result"] == {"documents": 3, "domain": "support"}
    assert about["quarantined"] == [{"path": "uploads/x.pdf", "reason": "is broken"}]
    assert case.finished == ["support"]


async def test_a_failed_job_says_why(case: Case) -> None:
    async with case.jobs(BAD) as jobs:
        about = (await ended(jobs, await jobs.start("support"))).describe()
    assert (about["status"], about["error"]) == ("failed", "error: the folder is empty")


async def test_what_keeps_a_release_from_answering_is_told_and_fails_no_job(case: Case) -> None:
    case.refused = "the adapter is for another base"
    async with case.jobs(GOOD) as jobs:
        good = (await ended(jobs, await jobs.start("support"))).describe()
    assert good["status"] == "succeeded"
    assert good["error"] == "Its release does not answer yet: the adapter is for another base"
    async with case.jobs(BAD) as jobs:
        bad = (await ended(jobs, await jobs.start("support"))).describe()
    assert (bad["status"], bad["error"]) == ("failed", "error: the folder is empty")


async def test_a_result_that_names_very_many_files_is_taken(case: Case) -> None:
    script = GOOD.replace("left_out = [", "left_out = 200_000 * [").replace(
        "broken", 100 * "broken"
    )
    async with case.jobs(script) as jobs:
        about = (await ended(jobs, await jobs.start("support"))).describe()
    assert (about["status"], about["quarantined_total"]) == ("succeeded", 200_000)


async def test_a_domain_has_one_job_at_a_time_and_others_wait_for_their_turn(case: Case) -> None:
    async with case.jobs(SLOW) as jobs:
        first = await jobs.start("support")
        with pytest.raises(Conflict, match=first.id):
            await jobs.start("support")
        second = await jobs.start("legal")
        await until(lambda: first.phase)
        assert (first.status, second.status) == ("running", "queued")
        await jobs.cancel(first.id)
        await until(lambda: second.status == "running")


async def test_as_many_jobs_run_at_once_as_are_allowed(case: Case) -> None:
    async with case.jobs(SLOW, most=2) as jobs:
        both = [await jobs.start("support"), await jobs.start("legal")]
        await until(lambda: all(job.status == "running" for job in both))


async def test_a_cancelled_job_ends_soon_and_frees_its_domain(case: Case) -> None:
    async with case.jobs(SLOW) as jobs:
        job = await jobs.start("support")
        await until(lambda: job.phase)
        assert (await jobs.cancel(job.id)).status == "cancelling"
        await ended(jobs, job)
        assert (job.status, job.error) == ("cancelled", None)
        with pytest.raises(Conflict, match="has ended"):
            await jobs.cancel(job.id)
        await jobs.start("support")


async def test_cancelling_at_the_very_start_is_not_lost(case: Case) -> None:
    async with case.jobs(SLOW) as jobs:
        job = await jobs.start("support")
        await until(lambda: job.status == "running")
        await jobs.cancel(job.id)
        assert (await ended(jobs, job)).status == "cancelled"


async def test_a_queued_job_is_cancelled_without_a_child(case: Case) -> None:
    async with case.jobs(SLOW) as jobs:
        await jobs.start("support")
        queued = await jobs.start("legal")
        await jobs.cancel(queued.id)
        assert (queued.status, queued.attempts) == ("cancelled", 0)


async def test_a_child_that_ignores_its_cancelling_is_killed_with_all_it_started(
    case: Case,
) -> None:
    async with case.jobs(DEAF, stop=0.3) as jobs:
        job = await jobs.start("support")
        await until(lambda: job.phase)
        grandchild = psutil.Process(job.phases["embed"].done)
        await jobs.cancel(job.id)
        assert (await ended(jobs, job)).status == "cancelled"
    await until(lambda: not grandchild.is_running() or grandchild.status() == "zombie")


async def test_a_killed_child_is_noticed_though_something_holds_its_pipes(case: Case) -> None:
    async with case.jobs(ORPHANING) as jobs:
        job = await ended(jobs, await jobs.start("support"))
    assert job.status == "failed"
    assert "signal 9" in str(job.error)


async def test_a_job_that_cannot_even_start_is_told_as_failed(case: Case) -> None:
    async with case.jobs(GOOD) as jobs:
        jobs._child = ChildSettings({}, ("/nowhere/python",))
        job = await ended(jobs, await jobs.start("support"))
    assert job.status == "failed"
    assert "/nowhere/python" in str(job.error)


async def test_an_interrupted_job_goes_on_under_its_id_when_the_service_starts_again(
    case: Case,
) -> None:
    async with case.jobs(SLOW) as jobs:
        job = await jobs.start("support")
        await until(lambda: job.phase)
        child = job.child
    assert not is_alive(child)
    async with case.jobs(GOOD) as jobs:
        again = await ended(jobs, jobs.get(job.id))
    assert (again.status, again.attempts) == ("succeeded", 2)


async def test_the_child_of_a_killed_service_is_seen_off_before_its_job_goes_on(
    case: Case, tmp_path: Path
) -> None:
    script = "import time; time.sleep(600)"
    left = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, start_new_session=True
    )
    job = Job(domain="support", status="running", attempts=1, holder="0a1b2c3d")
    job.child = process_of(left.pid)
    (case.folder / "services").mkdir(parents=True)
    (case.folder / "services" / "0a1b2c3d").touch()  # nobody holds its lock any more
    (case.folder / f"{job.id}.json").write_text(job.model_dump_json(), encoding="utf-8")
    async with case.jobs(GOOD, stop=0.3) as jobs:
        assert (await ended(jobs, jobs.get(job.id))).status == "succeeded"
    assert await left.wait() == -9


@pytest.mark.parametrize(
    ("before", "expected", "error"),
    [
        (Job(domain="support", status="cancelling"), "cancelled", None),
        (Job(domain="gone", status="running"), "failed", "no longer served"),
        (Job(domain="support", status="running", attempts=5), "failed", "Interrupted 5 times"),
    ],
)
async def test_what_cannot_go_on_is_ended_when_the_service_starts(
    case: Case, before: Job, expected: str, error: str | None
) -> None:
    case.folder.mkdir()
    file = case.folder / f"{before.id}.json"
    file.write_text(before.model_dump_json(), encoding="utf-8")
    async with case.jobs(GOOD) as jobs:
        job = jobs.get(before.id)
    assert job.status == expected
    assert error is None or error in str(job.error)
    assert json.loads(file.read_bytes())["status"] == expected


async def test_jobs_of_another_living_service_are_left_alone(case: Case) -> None:
    async with case.jobs(SLOW) as first:
        running, queued = await first.start("support"), await first.start("legal")
        await until(lambda: running.phases)
        (case.folder / "job-broken.json").write_text("{", encoding="utf-8")
        async with case.jobs(GOOD) as second:
            assert second.newest_first() == []
        assert (running.status, queued.status) == ("running", "queued")
        files = [case.folder / f"{job.id}.json" for job in (running, queued)]
        kept = [json.loads(file.read_bytes())["status"] for file in files]
        assert kept == ["running", "queued"]


async def test_what_a_service_left_at_its_stop_is_gone_on_with_by_another(case: Case) -> None:
    async with case.jobs(GOOD) as second:
        async with case.jobs(SLOW) as first:
            job = await first.start("support")
            await until(lambda: job.status == "running")
        assert second.newest_first() == []
        assert len(list((case.folder / "services").iterdir())) == 1
    async with case.jobs(GOOD) as third:
        assert (await ended(third, third.get(job.id))).status == "succeeded"


async def test_of_two_services_that_start_at_once_one_takes_what_a_dead_one_left(
    case: Case,
) -> None:
    (case.folder / "services").mkdir(parents=True)
    (case.folder / "services" / "0a1b2c3d").touch()
    job = Job(domain="support", status="running", attempts=1, holder="0a1b2c3d")
    (case.folder / f"{job.id}.json").write_text(job.model_dump_json(), encoding="utf-8")
    async with AsyncExitStack() as stack:
        opening = (stack.enter_async_context(case.jobs(SLOW)) for _ in range(4))
        services = await asyncio.gather(*opening)
        took = [one for one in services if one.newest_first()]
        assert len(took) == 1
        names = {file.name for file in (case.folder / "services").iterdir()}
    assert len(names) == 4
    assert "0a1b2c3d" not in names
    assert list((case.folder / "services").iterdir()) == []


async def test_watchers_see_the_present_state_first_and_the_end_last(case: Case) -> None:
    async with case.jobs(GOOD) as jobs:
        job = await jobs.start("support")
        seen = [one.status async for one in jobs.watch(job.id, 5) if one]
        late = [one.status async for one in jobs.watch(job.id, 5) if one]
    assert seen[-1] == "succeeded"
    assert set(seen[:-1]) <= {"queued", "running"}
    assert late == ["succeeded"]


async def test_who_is_slow_to_take_the_news_still_hears_the_end(case: Case) -> None:
    async with case.jobs(GOOD) as jobs:
        job = await jobs.start("support")
        heard = jobs.watch(job.id, 5)
        assert await anext(heard) is job
        await ended(jobs, job)
        assert [one.status async for one in heard if one] == ["succeeded"]


async def test_a_watcher_hears_that_nothing_happens_and_is_let_go_at_the_stop(case: Case) -> None:
    async with case.jobs(DEAF, stop=0.3) as jobs:
        job = await jobs.start("support")
        await until(lambda: job.phase)
        heard = jobs.watch(job.id, 0.01)
        while await anext(heard) is not None:
            pass
        jobs.end_watching()
        assert [one async for one in heard] == []


async def test_no_more_clients_watch_than_are_allowed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "MOST_WATCHERS", 1)
    async with case.jobs(SLOW) as jobs:
        job = await jobs.start("support")
        first = jobs.watch(job.id, 1)
        await anext(first)
        with pytest.raises(Overloaded):
            jobs.watch(job.id, 1)


async def test_only_the_last_jobs_are_remembered(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "KEPT_JOBS", 2)
    async with case.jobs(GOOD) as jobs:
        ids = [(await ended(jobs, await jobs.start("support"))).id for _ in range(4)]
        await until(lambda: len(jobs.newest_first()) == 2)
        assert [job.id for job in jobs.newest_first()] == ids[:1:-1]
        with pytest.raises(UnknownName, match=ids[0]):
            jobs.get(ids[0])
    assert sorted(file.stem for file in case.folder.glob("job-*")) == sorted(ids[2:])


async def test_a_job_whose_state_cannot_be_kept_is_not_started(case: Case) -> None:
    case.folder.parent.mkdir(exist_ok=True)
    case.folder.write_text("a file where the folder should be", encoding="utf-8")
    async with case.jobs(GOOD) as jobs:
        with pytest.raises(StoreError):
            await jobs.start("support")
        assert jobs.newest_first() == []


async def test_a_plan_is_made_by_a_child_too(case: Case) -> None:
    async with case.jobs(PLAN) as jobs:
        assert await jobs.plan("support") == {"new": ["a.md"]}
        assert jobs.newest_first() == []


@pytest.mark.parametrize(("script", "kind"), [(BAD, InvalidRequest), ("1/0", ServiceError)])
async def test_a_plan_that_cannot_be_made_says_why(
    case: Case, script: str, kind: type[ServiceError]
) -> None:
    async with case.jobs(script) as jobs:
        with pytest.raises(kind, match=r"folder is empty|ZeroDivisionError"):
            await jobs.plan("support")


async def test_a_chatty_job_is_not_written_to_disk_at_every_word(case: Case) -> None:
    script = GOOD.replace(
        "print(", "for i in range(2000): say(event='progress', phase='x')\nprint("
    )
    async with case.jobs(script) as jobs:
        saved: list[float] = []
        save = jobs._files.save

        async def counted(job: Job) -> None:
            saved.append(time.monotonic())
            await save(job)

        jobs._files.save = counted  # type: ignore[method-assign]
        await ended(jobs, await jobs.start("support"))
    assert len(saved) < 20
