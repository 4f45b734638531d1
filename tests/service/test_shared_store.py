"""Two services with stores of their own meet at an object store: one makes, one follows."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from adapters.remote.following import keep_moving
from adapters.remote.objects import Objects
from adapters.remote.pulling import pull
from adapters.remote.pushing import push
from indexer.settings import Paths
from tests.service.product import Product, running
from tests.service.voices import VOICES, register_voices

EVERY = 0.5  # what the commands do unless they are told otherwise


@dataclass
class Meeting:
    """The service that makes releases, the one that follows, and where they meet."""

    maker: Product
    follower: Product
    bucket: Path

    def release(self, voice: str) -> int:
        """The number of a new release of the maker's, which answers there."""
        response = httpx.put(
            f"{self.maker.url}/v1/domains/garden/adapter", json={"adapter": voice}, timeout=60
        )
        assert response.status_code == 200, response.text
        return int(response.json()["number"])

    def answers(self) -> int:
        """The release that an answer of the follower names."""
        return int(self.follower.chat().json()["dslm"]["release"])


@contextmanager
def moving(move: Callable[[str], object]) -> Iterator[None]:
    """As the commands do it, in a thread, until the end of the block."""
    ended = threading.Event()

    def look(seconds: float) -> None:
        if ended.wait(seconds):
            raise KeyboardInterrupt

    def keep() -> None:
        with suppress(KeyboardInterrupt):
            keep_moving(["garden"], move, lambda _: None, EVERY, sleep=look)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def meeting(indexed: tuple[Path, Path], tmp_path: Path) -> Iterator[Meeting]:
    """The follower's store begins empty and holds nothing but what it pulled."""
    made, followed = Paths(tmp_path / "made"), Paths(tmp_path / "followed")
    shutil.copytree(indexed[0], made.root)
    register_voices(made.root)
    objects = Objects(f"file://{tmp_path / 'bucket'}")

    def push_it(domain: str) -> object:
        return push(made, objects, domain, unwatched)

    def pull_it(domain: str) -> object:
        return pull(followed, objects, domain, unwatched)

    for domain in ("garden", "pantry"):
        push_it(domain)
        pull_it(domain)
    with ExitStack() as stack:
        maker = stack.enter_context(running(made.root, indexed[1]))
        follower = stack.enter_context(running(followed.root, indexed[1]))
        stack.enter_context(moving(push_it))
        stack.enter_context(moving(pull_it))
        yield Meeting(maker, follower, tmp_path / "bucket")


def unwatched(_: int) -> None:
    """Nobody watches."""


def test_a_release_made_on_one_service_is_served_by_the_other(meeting: Meeting) -> None:
    meeting.answers()  # the first question loads the embedder
    took = []
    for voice in VOICES[:2]:
        number = meeting.release(voice)
        began = time.monotonic()
        meeting.follower.until(lambda wanted=number: meeting.answers() == wanted, 30)
        took.append(time.monotonic() - began)
        assert meeting.follower.chat().json()["dslm"]["adapter"] == voice
    assert min(took) < 2, took  # the other may have met a busy moment of the machine


def test_while_a_download_is_cut_the_follower_answers_as_before_and_then_goes_on(
    meeting: Meeting,
) -> None:
    before = meeting.answers()
    adapters = meeting.bucket / "adapters"
    adapters.mkdir(exist_ok=True)
    adapters.rename(meeting.bucket / "away")  # nothing that is pushed can be found
    adapters.write_text("in the way", encoding="utf-8")
    number = meeting.release(VOICES[0])
    assert meeting.maker.chat().json()["dslm"]["release"] == number
    for _ in range(5):
        assert meeting.answers() == before
        time.sleep(0.2)
    adapters.unlink()
    (meeting.bucket / "away").rename(adapters)
    meeting.follower.until(lambda: meeting.answers() == number, 60)
