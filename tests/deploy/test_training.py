"""What only training uses is set up beside the rest, once, and is never in the way of serving."""

from pathlib import Path

import pytest

from deploy.setup import setup, training
from deploy.setup.packages import Progress, SetupError


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    return folder


def fake_pip(venv: Path, script: str) -> None:
    interpreter = venv / "bin" / "python"
    interpreter.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    interpreter.chmod(0o755)


def test_it_is_installed_once_and_outside_of_what_every_program_imports(venv: Path) -> None:
    fake_pip(venv, f'echo "$*" >> {venv}/calls; mkdir -p {venv}/train')
    training.install_training(venv, Progress())
    training.install_training(venv, Progress())
    (call,) = (venv / "calls").read_text(encoding="utf-8").splitlines()
    assert f"--target {venv}/train" in call
    assert "--no-deps" in call, "another torch would come along"


def test_other_pins_replace_what_was_there(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(venv, f"mkdir -p {venv}/train")
    training.install_training(venv, Progress())
    (venv / "train" / "old").touch()
    pins = venv / "pins.txt"
    pins.write_text("bitsandbytes==99\n", encoding="utf-8")
    monkeypatch.setattr(training, "LOCK", pins)
    training.install_training(venv, Progress())
    assert [path.name for path in (venv / "train").iterdir()] == ["set-up"]


def test_where_it_cannot_be_had_the_set_up_goes_on_and_says_so(
    venv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_pip(venv, "echo 'ERROR: Connection refused'; exit 1")
    with pytest.raises(SetupError, match="Check the network"):
        training.install_training(venv, Progress())
    training.try_training(venv, Progress())
    said = capsys.readouterr().out
    assert "QLoRA cannot be used" in said
    assert "`make training` tries it again" in said
    assert not (venv / "train" / "set-up").exists()


def test_its_pins_belong_to_what_a_finished_set_up_is_known_by(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = setup.fingerprint("cpu", venv)
    pins = venv / "pins.txt"
    pins.write_text("bitsandbytes==99\n", encoding="utf-8")
    monkeypatch.setattr(setup, "TRAINING_LOCK", pins)
    assert setup.fingerprint("cpu", venv) != before


def test_its_pins_are_exact() -> None:
    lines = training.LOCK.read_text(encoding="utf-8").splitlines()[1:]
    assert lines
    assert [line for line in lines if "==" not in line or "/" in line] == []
