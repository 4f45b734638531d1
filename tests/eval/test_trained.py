"""What training is worth: the same rows before and after, each answer by the right version."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.training.rendering import read_rows
from eval import trained
from eval.client import Client
from eval.trained import (
    BEFORE,
    SHOWN,
    Arm,
    Trained,
    TrainingEnded,
    TrialSettings,
    WrongRelease,
    ask_all,
    grids,
    read_material,
    right,
    write_workplace,
)
from indexer.domain import load_domains
from indexer.errors import BadInput

NAMES = ("late_card", "lost_card", "wrong_fee")


@pytest.fixture
def settings(tmp_path: Path) -> TrialSettings:
    for file, count in (("train", 6), ("test", 4)):
        rows = [
            {"text": f"{file} {name} {n}", "label": name} for name in NAMES for n in range(count)
        ]
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / f"{file}.jsonl").write_text(text, encoding="utf-8")
    return TrialSettings(tmp_path, labels=0)


def test_fewer_labels_are_learned_and_asked_alike_and_by_the_same_draw(
    settings: TrialSettings,
) -> None:
    few = TrialSettings(settings.folder, labels=2, rows=7, tests=5)
    material = read_material(few)
    assert len(material.labels) == 2
    assert {one.label for one in (*material.learned, *material.asked)} == set(material.labels)
    assert (len(material.learned), len(material.asked)) == (7, 5)
    assert read_material(few) == material


def test_a_folder_that_has_nothing_to_ask_is_named(settings: TrialSettings) -> None:
    (settings.folder / "test.jsonl").write_text('{"text": "a", "label": "other"}', encoding="utf-8")
    with pytest.raises(BadInput, match="rows to learn or none to ask"):
        read_material(settings)


def test_the_workplace_is_a_domain_and_rows_that_training_reads(
    settings: TrialSettings, tmp_path: Path
) -> None:
    material = read_material(settings)
    environment = write_workplace(material, tmp_path / "place", 4)
    (domain,) = load_domains(Path(environment["DSLM_DOMAINS"])).values()
    assert (domain.name, domain.retrieval.demonstrations) == (trained.DOMAIN, 4)
    shown = read_rows(tmp_path / "place" / "domains" / trained.DOMAIN / "demonstrations.jsonl")
    assert [row.answer for row in shown] == [one.label for one in material.learned]
    rows = read_rows(tmp_path / "place" / "rows.jsonl")
    assert [row.answer for row in rows] == [one.label for one in material.learned]
    assert rows[0].messages[0]["content"] == f"Text: {material.learned[0].text}\nLabel:"


def test_a_training_that_fails_ends_the_measurement(
    settings: TrialSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 2\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(TrainingEnded, match="seed 4 ended with code 2"):
        trained.train(settings, 4, tmp_path, {})


def test_the_version_that_training_prints_is_the_one_released(
    settings: TrialSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "python"
    stub.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/said\necho intent-labels@7 0a1b2c\n', "utf-8"
    )
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    assert trained.train(settings, 4, tmp_path, {}).label == "intent-labels@7"
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert "adapters train intents" in said
    assert "--method qlora" in said
    assert "--seed 4" in said


class Service:
    """Answers rightly with an adapter, and with one label always without; or from the wrong one."""

    def __init__(self, *, stuck: bool = False) -> None:
        self._stuck = stuck
        self.shown: list[tuple[bool, bool]] = []
        self.live: str | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body: Mapping[str, Any] = json.loads(request.content)
        if request.method == "PUT":
            self.live = None if self._stuck else body["adapter"]
            return httpx.Response(200, json={})
        switches = body["dslm"]
        assert switches["passages"] is False
        self.shown.append((switches["adapter"], switches["demonstrations"]))
        used = self.live if switches["adapter"] else None
        text = body["messages"][-1]["content"].removeprefix("Text: ").removesuffix("\nLabel:")
        said = text.split()[1] if used else NAMES[0]
        message = {"role": "assistant", "content": f" {said}\n"}
        told = {"adapter": used, "release": 2 if used else 1}
        return httpx.Response(200, json={"choices": [{"message": message}], "dslm": told})


def client(service: Service) -> Client:
    return Client("http://service", transport=httpx.MockTransport(service))


VERSIONS = [Trained(1, "intent-labels@1", 3.0), Trained(2, "intent-labels@2", 4.0)]


async def test_before_and_after_are_asked_the_same_rows_of_their_own_release(
    settings: TrialSettings,
) -> None:
    material = read_material(settings)
    async with client(Service()) as asking:
        arms = await ask_all(asking, material, VERSIONS, 0)
    assert [(arm.name, arm.release) for arm in arms] == [
        (BEFORE, "1"),
        ("intent-labels@1, seed 1", "2"),
        ("intent-labels@2, seed 2", "2"),
    ]
    assert [sum(right(arm, material)) for arm in arms] == [4, 12, 12]


async def test_an_answer_of_another_version_is_no_result(settings: TrialSettings) -> None:
    async with client(Service(stuck=True)) as asking:
        with pytest.raises(WrongRelease, match="Asked intent-labels@1, and None answered"):
            await ask_all(asking, read_material(settings), VERSIONS, 0)


async def test_a_version_that_learned_with_solved_examples_is_compared_with_the_base_shown_them(
    settings: TrialSettings,
) -> None:
    material, service = read_material(settings), Service()
    async with client(service) as asking:
        arms = await ask_all(asking, material, VERSIONS[:1], 4)
    assert Counter(service.shown) == {(False, False): 12, (False, True): 12, (True, True): 12}
    accuracy, gains = grids(arms, VERSIONS[:1], material)
    assert [row[2] for row in accuracy.rows[:3]] == ["-", "-", "3"]
    assert gains.title.startswith(f"After against: {SHOWN}")
    assert len(gains.rows) == 1


def test_the_tables_give_intervals_sizes_and_a_winner_only_where_it_is_sure(
    settings: TrialSettings,
) -> None:
    material = read_material(settings)
    labels = tuple(one.label for one in material.asked)
    arms = [
        Arm(BEFORE, "1", (NAMES[0],) * 12),
        Arm("good", "2", labels),
        Arm("same", "3", ("nothing", *[NAMES[0]] * 11)),
    ]
    accuracy, gains = grids(arms, VERSIONS, material)
    assert accuracy.title.startswith("3 labels, 18 rows learned, 12 asked")
    cells = {row[0]: row for row in accuracy.rows}
    assert cells[BEFORE][2:] == ("-", "0.33 (4/12; 0.14 to 0.61)", "1.00 (12/12; 0.76 to 1.00)")
    assert cells["good"][2:4] == ("3", "1.00 (12/12; 0.76 to 1.00)")
    assert cells["same"][4].startswith("0.92 (11/12")
    # McNemar: 8 gained, none lost is 2 / 2**8; Holm doubles it.
    assert gains.rows[0] == ("good", "+0.667 (+0.417 to +0.917)", "0.016", "good")
    assert gains.rows[1][2:] == ("1", "neither, surely")
