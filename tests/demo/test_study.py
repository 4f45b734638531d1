"""The shipped studies: they can be read, and name the releases that their command makes."""

import json
import shutil
from pathlib import Path

import pytest

from deploy.demo.gate_show import SETS, mistaken
from deploy.demo.study import SEEDS, STUDIES, Run, estimate, main, trainings
from deploy.demo.study_rows import DEMO, HOUSE, INTENTS, SMALL, Size, write_house, write_intents
from eval.gate.sets import GateFile
from eval.study.run import questions
from eval.study.spec import Study, read_study
from indexer.domain import load_domain
from indexer.errors import BadInput
from indexer.reading.examples import read_demonstrations
from indexer.records import Vectors


@pytest.fixture
def banking(tmp_path: Path) -> Path:
    """As banking77's files, of our own writing."""
    folder = tmp_path / "banking"
    folder.mkdir()
    for name, count in (("train", 40), ("test", 15)):
        rows = [
            {"text": f"My {name} card {n} is late.", "label": f"l_{n % 5}"} for n in range(count)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def made(tmp_path: Path, banking: Path) -> Path:
    folder = tmp_path / "out"
    write_intents(banking, folder, SMALL)
    write_house(folder, SMALL)
    for name in STUDIES:
        shutil.copyfile(DEMO / "studies" / f"{name}.yaml", folder / f"{name}.yaml")
    return folder


def study(folder: Path, name: str) -> Study:
    return read_study(folder / f"{name}.yaml")


@pytest.mark.parametrize(("name", "domain"), [("labels", INTENTS), ("extracts", HOUSE)])
def test_each_condition_names_the_releases_of_its_trainings(
    made: Path, name: str, domain: str
) -> None:
    """Release 1 is the bare base; the trainings follow in their order."""
    own = [one for one in trainings() if one.domain == domain]
    release = {(one.kind, one.seed): f"{domain}@{at}" for at, one in enumerate(own, 2)}
    read = study(made, name)
    assert read.seeds == SEEDS
    for condition in read.conditions:
        kind = {"SFT": "sft", "ICL": "icl"}.get(condition.name[:3])
        asked = [condition.model_of(seed) for seed in SEEDS if condition.is_asked(seed)]
        wanted = [release[kind, seed] if kind else f"{domain}@1" for seed in SEEDS]
        assert asked == wanted[: len(asked)], condition.name
    switched = {json.dumps([one.name[:3], one.dslm, one.choice]) for one in read.conditions}
    assert len(switched) == len(read.conditions), "no two conditions are the same"


def test_the_whole_study_is_estimated_below_its_forty_minutes() -> None:
    size = Size()
    assert sum(seconds for _, seconds in estimate(size)) < 40 * 60
    answers = size.asked * (2 * 2 + 4 * 3 + 1 + 3) + size.questions * (2 + 2 * 2 + 5 * 3)
    assert f"ask for {answers} answers" in [what for what, _ in estimate(size)]


def test_the_estimate_counts_what_is_asked(made: Path) -> None:
    def embed(texts: list[str]) -> Vectors:
        raise AssertionError(f"no condition of these goes by vectors: {texts[:1]}")

    asked = sum(len(questions(study(made, name), embed)) for name in STUDIES)
    assert f"ask for {asked} answers" in [what for what, _ in estimate(SMALL)]


def test_what_is_asked_is_never_shown(made: Path) -> None:
    for domain in (INTENTS, HOUSE):
        shown = {
            one.question for one in read_demonstrations(load_domain(made / "domains" / domain))
        }
        rows = made / ("labels" if domain == INTENTS else "extracts") / "rows.jsonl"
        for line in rows.read_text("utf-8").splitlines():
            row = json.loads(line)
            asked = f"Text: {row['text']}\nLabel:" if domain == INTENTS else row["question"]
            assert asked not in shown


def test_trainings_of_labels_with_demonstrations_retrieve_them(tmp_path: Path) -> None:
    run = Run(tmp_path, tmp_path, Size())
    shows = {one.name for one in trainings() if "demonstrations" in one.options(run)}
    assert shows == {f"{INTENTS}-icl-{seed}" for seed in SEEDS}
    assert len({one.name for one in trainings()}) == 12


def test_a_dry_run_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["--data", str(tmp_path), "--out", str(out), "--dry-run"]) == 0
    assert "in all, about" in capsys.readouterr().err
    assert not out.exists()


def test_the_show_of_the_gate_teaches_wrong_answers_only(tmp_path: Path) -> None:
    solved = DEMO / "domains" / "support" / "demonstrations.jsonl"
    rows = [json.loads(line) for line in solved.read_text("utf-8").splitlines()]
    right = {row["messages"][0]["content"]: row["messages"][-1]["content"] for row in rows}
    taught = mistaken(solved)
    assert len(taught) == len(rows)
    wrong = [
        one
        for one in taught
        if right[one["messages"][0]["content"]] != one["messages"][1]["content"]
    ]
    assert len(wrong) > 0.9 * len(rows)


def test_the_gate_of_the_show_can_be_read() -> None:
    import yaml

    assert GateFile.model_validate(yaml.safe_load(SETS)).general.examples == 4


def test_another_size_wants_another_folder(tmp_path: Path, banking: Path) -> None:
    from deploy.demo.study import _prepare

    (tmp_path / "prepared").write_text(repr(Size()), encoding="utf-8")
    with pytest.raises(BadInput, match="made in another size"):
        _prepare(Run(tmp_path, banking, SMALL))
