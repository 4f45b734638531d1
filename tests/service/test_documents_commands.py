"""`dslm documents` and `dslm jobs` against a service whose jobs are a few lines of Python."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dslm import app
from eval.client import ServiceRefused
from service.app import create_app
from service.bootstrap import build
from service.child import ChildSettings
from service.settings import ServiceSettings
from tests.service.fake_engine import serving

CHILD = """
import json, sys, time
def say(**event): print(json.dumps(event), flush=True)
say(event="progress", phase="embed", done=1, total=2, rate=3.0, left=0.5)
time.sleep(0.3)
say(event="result", documents=1, rejected=[{"path": "uploads/x.pdf", "reason": "is damaged"}])
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("commands")
    documents = folder / "domains" / "garden" / "documents"
    documents.mkdir(parents=True)
    (documents.parent / "domain.toml").write_text("", encoding="utf-8")
    settings = ServiceSettings(
        store=folder / "store", domains=folder / "domains", engine_urls="http://127.0.0.1:9"
    )
    service = build(settings)
    service.jobs._child = ChildSettings(dict(os.environ), (sys.executable, "-c", CHILD))
    with serving(create_app(service)) as address:
        yield address


def dslm(url: str, *words: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"DSLM_URL": url})


def test_a_folder_is_added_listed_and_removed(url: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# A", encoding="utf-8")
    (tmp_path / "notes" / " b.md").write_text("# B", encoding="utf-8")
    added = dslm(url, "documents", "add", "garden", str(tmp_path / "notes"))
    assert "uploads/a.md" in added.output
    assert "cannot be a document's name" in added.output
    assert added.exit_code == 1
    listed = dslm(url, "documents", "list", "garden", "--state", "pending")
    assert listed.output.split() == ["pending", "3", "uploads/a.md"]
    assert dslm(url, "documents", "remove", "garden", "uploads/a.md").exit_code == 0
    assert dslm(url, "documents", "list", "garden").output == ""
    again = dslm(url, "documents", "remove", "garden", "uploads/a.md")
    assert isinstance(again.exception, ServiceRefused)


def test_a_job_is_started_followed_shown_and_listed(url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("# A", encoding="utf-8")
    followed = dslm(url, "documents", "add", "garden", str(file), "--index")
    assert followed.exit_code == 0, followed.output
    assert "embed 1/2, 0 s left" in followed.output
    assert "left out uploads/x.pdf: is damaged" in followed.output
    job = dslm(url, "jobs", "list", "--domain", "garden").output.split()[0]
    assert dslm(url, "jobs", "show", job).output in followed.output
    started = dslm(url, "jobs", "start", "garden").output.split()[0]
    assert dslm(url, "jobs", "cancel", started).exit_code == 0
    assert dslm(url, "jobs", "show", started, "--follow").exit_code == 1, "it was cancelled"
