"""Files are put into the store whole or not at all, and what the disk says is said again."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from indexer.errors import BadInput, DslmError, NotFound, StoreError
from indexer.settings import Paths, store_errors, write_atomically


def test_an_error_reads_as_message_and_remedy() -> None:
    assert str(BadInput("No such thing.", "Look again")) == "No such thing. Look again"
    assert str(DslmError("No such thing")) == "No such thing"


def test_each_kind_of_error_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in (DslmError, BadInput, StoreError, NotFound)]
    assert codes == [1, 2, 3, 4]


def test_the_layout_is_the_designs() -> None:
    paths = Paths(Path("/s"))
    assert paths.catalog("legal") == Path("/s/domains/legal/catalog.db")
    assert paths.snapshot("legal", "ab") == Path("/s/domains/legal/snapshots/ab")
    assert paths.live("legal") == Path("/s/domains/legal/LIVE")
    assert paths.releases("legal") == Path("/s/domains/legal/releases")
    assert paths.adapter("d1") == Path("/s/adapters/d1")
    assert paths.names == Path("/s/adapters/names.json")


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "LIVE"
    write_atomically(target, b"1")
    write_atomically(target, b"2")
    assert target.read_bytes() == b"2"
    assert os.listdir(target.parent) == ["LIVE"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "LIVE"
    write_atomically(target, b"1")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"LIVE: No space left.*Free some disk space"):
        write_atomically(target, b"2")
    assert target.read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["LIVE"]


def test_a_path_through_a_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder", encoding="utf-8")
    with pytest.raises(StoreError, match="store"):
        write_atomically(tmp_path / "store" / "LIVE", b"1")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("database or disk is full", "Free some disk space"),
        ("database is locked", "Another process"),
        ("unable to open database file", "write access"),
        ("file is not a database", "index the domain again"),
    ],
)
def test_what_sqlite_says_comes_with_a_remedy(reason: str, remedy: str) -> None:
    with pytest.raises(StoreError, match=remedy), store_errors(Path("catalog.db")):
        raise sqlite3.OperationalError(reason)
