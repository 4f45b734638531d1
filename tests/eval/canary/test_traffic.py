"""`dslm eval canary` and `dslm eval mirror`: what is read from the store, and what is said."""

import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner, Result

from adapters.answered import AnsweredLine, AnsweredLog
from adapters.audit import Cause
from adapters.command_line import Workplace, group
from adapters.feedback import Feedback, FeedbackStore
from adapters.mirrored import Comparison, Mirrored, Said
from adapters.release import ReleaseStore
from adapters.steering import drop_canary, set_canary
from adapters.traffic import Canary
from eval.canary.commands import canary, mirror
from eval.canary.traffic import compare_traffic, watch
from indexer.errors import BadInput
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot
from tests.service.fake_engine import serving

ME = Cause("me")
SOON = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Release 2 is the canary beside 1."""
    folder = tmp_path / "domains" / "support"
    folder.mkdir(parents=True)
    (folder / "domain.toml").write_text("", encoding="utf-8")
    paths = Paths(tmp_path / "store")
    put_snapshot(paths)
    made = ReleaseStore(paths)
    made.create(make_domain(folder), snapshot=SNAPSHOT)
    made.create(make_domain(folder), activate=False)
    set_canary(made, "support", Canary(release=2, share=0.5), ME)
    return made


def answer(number: int, side: str, **changes: Any) -> AnsweredLine:
    told = {
        "id": f"{side}-{number}",
        "at": datetime.now(UTC) + SOON,
        "release": 2 if side == "canary" else 1,
        "role": side,
        "mode": "generate",
        "refused": False,
        "seconds": 0.1,
        "tokens_in": 1,
        "tokens_out": 1,
        "caller": f"{side} {number}",
        "question": "q",
        **changes,
    }
    return AnsweredLine(**told)


def run(store: ReleaseStore, command: Any, *words: str) -> Result:
    place = Workplace(store.paths, store.paths.root.parent / "domains", "", 16)
    app = group("")
    app.command("it")(command)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["it", "support", *words], obj=lambda: place)


def say(store: ReleaseStore, count: int, refused: dict[str, float], slower: float = 1.0) -> None:
    chance = random.Random(1)
    lines = [
        answer(
            n,
            side,
            refused=chance.random() < refused[side],
            seconds=(0.1 if side == "live" else 0.1 * slower) * math.exp(chance.gauss(0, 0.2)),
        )
        for n in range(count)
        for side in ("canary", "live")
    ]
    AnsweredLog(store.paths, "support").append(lines, 1 << 24)


def test_a_canary_that_is_worse_is_called_so(store: ReleaseStore) -> None:
    say(store, 400, {"canary": 0.4, "live": 0.1}, slower=1.5)
    result = run(store, canary)
    assert result.exit_code == 1, result.output
    assert "support: canary 2 against live 1" in result.stdout
    assert "400 and 400 callers" in result.stdout
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert lines["refused"].endswith("surely worse")
    assert "1.5" in lines["seconds"]
    assert lines["seconds"].endswith("surely worse")
    assert lines["thumbs"].endswith("too few to tell")
    told = json.loads(run(store, canary, "--json").stdout)
    assert [one["says"] for one in told["measures"]] == ["worse", "worse", ""]


def test_equal_ones_are_not_decided(store: ReleaseStore) -> None:
    say(store, 300, {"canary": 0.2, "live": 0.2})
    result = run(store, canary)
    assert result.exit_code == 0
    assert result.stdout.count("not decided") == 2


def test_a_caller_counts_once_however_much_he_asks(store: ReleaseStore) -> None:
    lines = [answer(n, "canary", caller="one", refused=True) for n in range(500)]
    lines += [answer(n, "live") for n in range(500)]
    AnsweredLog(store.paths, "support").append(lines, 1 << 24)
    (refused, *_) = compare_traffic(store, watch(store, "support"))
    assert (refused.canary.count, refused.live.count, refused.says) == (1, 500, "")


def test_only_drawn_callers_since_it_began_count(store: ReleaseStore) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    lines = [answer(1, "canary", at=before), answer(2, "canary", role="pinned", release=2)]
    lines += [answer(3, "canary", release=7), answer(4, "canary")]
    AnsweredLog(store.paths, "support").append(lines, 1 << 24)
    (refused, *_) = compare_traffic(store, watch(store, "support"))
    assert refused.canary.count == 1


def test_a_canary_that_was_begun_again_counts_from_then(store: ReleaseStore) -> None:
    first = watch(store, "support").since
    set_canary(store, "support", Canary(release=2, share=0.9), ME)
    assert watch(store, "support").since == first, "a larger share goes on with what was seen"
    drop_canary(store, "support", ME)
    with pytest.raises(BadInput, match="has no canary"):
        watch(store, "support")
    set_canary(store, "support", Canary(release=2, share=0.5), ME)
    assert watch(store, "support").since > first


def test_thumbs_are_joined_to_the_release_that_answered(store: ReleaseStore) -> None:
    feedback = FeedbackStore(store.paths, "support")
    AnsweredLog(store.paths, "support").append(
        [answer(n, side) for n in range(120) for side in ("canary", "live")], 1 << 24
    )
    for n in range(120):
        for side, release in (("canary", 2), ("live", 1)):
            feedback.add(
                Feedback(
                    id=f"{side}{n}",
                    at=datetime.now(UTC) + SOON,
                    answer=f"{side}-{n}",
                    release=release,
                    role="canary" if side == "canary" else "live",
                    rating="up" if side == "canary" or n % 2 else "down",
                )
            )
    thumbs = compare_traffic(store, watch(store, "support"))[2]
    assert (thumbs.canary.mean, thumbs.live.mean) == (1.0, 0.5)
    assert thumbs.says == "better"


def pair(number: int, live: str, other: str, **changes: Any) -> Comparison:
    told = {
        "at": datetime.now(UTC),
        "question": str(number),
        "same": live == other,
        "live": Said(release=1, text=live, seconds=0.2),
        "mirror": Said(release=2, text=other, seconds=0.4),
        "asked": "How long?",
        **changes,
    }
    return Comparison(**told)


@pytest.fixture
def judge() -> Iterator[tuple[str, list[str]]]:
    """Prefers what says `good`, wherever it stands; else what stands first; `odd` puzzles it."""
    asked: list[str] = []

    async def chat(request: Request) -> Response:
        text = (await request.json())["messages"][0]["content"]
        asked.append(text)
        first, second = text.split("Answer A:")[1].split("Answer B:")
        said = "A" if "good" in first or "good" not in second else "B"
        said = "Hm." if "odd" in text else said
        choices = [{"message": {"content": said}, "finish_reason": "stop"}]
        return JSONResponse({"choices": choices})

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    with serving(app) as url:
        yield url, asked


def test_a_judge_is_asked_in_both_orders_and_counts_only_where_it_agrees(
    store: ReleaseStore, judge: tuple[str, list[str]]
) -> None:
    kept = Mirrored(store.paths, "support")
    pairs = [pair(n, "bad", f"good {n}") for n in range(8)]
    pairs += [pair(20, "this", "that"), pair(21, "odd", "even"), pair(22, "same", "same")]
    pairs.append(pair(23, "x", "", mirror=Said(release=2, error="no")))
    for one in pairs:
        kept.append(one, 1 << 20)
    url, asked = judge
    result = run(store, mirror, "--judge-url", url, "--judge", "big", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["pairs"], told["same"], told["failed"], told["ratio"]) == (12, 1, 1, 2.0)
    judged = told["judged"]
    counts = [judged[name] for name in ("mirror", "live", "tied", "failed")]
    assert counts == [8, 0, 1, 1]
    assert judged["winner"] == "the mirror"
    assert len(asked) == 20
    assert "How long?" in asked[0]
    assert "8 for the mirror" in run(store, mirror, "--judge-url", url, "--judge", "big").stdout


def test_a_mirror_without_a_judge_says_how_alike(store: ReleaseStore) -> None:
    Mirrored(store.paths, "support").append(pair(1, "a b c d", "a b c x"), 1 << 20)
    assert "0.75 of the words in common" in run(store, mirror).stdout


def test_what_is_missing_is_said(store: ReleaseStore) -> None:
    assert "has no mirrored answers" in str(run(store, mirror).exception)
    assert "go together" in str(run(store, mirror, "--judge", "big").exception)
