"""A store of a newer form is refused, an older one has a door, and a kill in it is taken back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.versioning import FORMAT, check_store, mark_store, migrate, open_store, stored_format
from dslm import app
from indexer.errors import StoreError


def test_a_store_without_a_version_has_the_first_form_and_gets_its_mark_when_it_is_opened(
    tmp_path: Path,
) -> None:
    check_store(tmp_path)
    assert list(tmp_path.iterdir()) == []
    open_store(tmp_path)
    assert json.loads((tmp_path / "VERSION").read_text("utf-8")) == {"format": FORMAT}


def test_a_newer_store_is_refused_by_every_command_and_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_store(tmp_path, FORMAT + 1)
    monkeypatch.setenv("DSLM_STORE", str(tmp_path))
    for words in (["adapters", "list"], ["index", "support"], ["backup", "x.tar"], ["migrate"]):
        said = CliRunner().invoke(app, words)
        assert isinstance(said.exception, StoreError), words
        assert f"has form {FORMAT + 1}, this program knows up to {FORMAT}" in str(said.exception)
    assert sorted(os.listdir(tmp_path)) in (["VERSION"], [".migrate.lock", "VERSION"])


@pytest.mark.parametrize("content", [b"", b"{}", b"7", b'{"format": "1"}', b'{"format": true}'])
def test_a_damaged_version_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "VERSION").write_bytes(content)
    with pytest.raises(StoreError, match="VERSION is damaged"):
        check_store(tmp_path)


def test_an_older_store_is_sent_to_the_door(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="dslm migrate"):
        check_store(tmp_path, newest=FORMAT + 1)


def test_each_step_is_taken_once_in_order_and_marked(tmp_path: Path) -> None:
    taken: list[str] = []
    steps = (lambda _: taken.append("to 2"), lambda _: taken.append("to 3"))
    assert migrate(tmp_path, steps) == (1, 3)
    assert migrate(tmp_path, steps) == (3, 3)
    assert taken == ["to 2", "to 3"]
    assert stored_format(tmp_path) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from adapters.versioning import migrate
def first(root): (root / "first").write_text("done")
def second(root): os.kill(os.getpid(), signal.SIGKILL)
migrate(Path(sys.argv[1]), (first, second))
"""


def test_a_step_that_was_killed_is_taken_again_and_the_ones_before_are_not(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    code = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False)
    assert code.returncode < 0
    assert stored_format(tmp_path) == 2

    def never(_: Path) -> None:
        raise AssertionError("taken twice")

    taken: list[Path] = []
    assert migrate(tmp_path, (never, taken.append)) == (2, 3)
    assert taken == [tmp_path]


def test_a_store_that_can_only_be_read_is_opened_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path, __: int) -> None:
        raise StoreError("read-only")

    monkeypatch.setattr("adapters.versioning.mark_store", refused)
    open_store(tmp_path)
