"""What leaves the store is what was in it: the same version elsewhere, the same answers merged."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import huggingface_hub
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from adapters.base import BaseProfile
from adapters.command_line import Workplace
from adapters.commands import adapters_app
from adapters.errors import AdapterRefused, BaseRefused
from adapters.exporting.delivery import NotDelivered, delivered, ordered
from adapters.exporting.gguf import ConversionFailed
from adapters.exporting.merged import write_merged
from adapters.importing.taking import Incoming, take
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from indexer.errors import BadInput, DslmError
from indexer.settings import Paths
from tests.adapters.merging.test_merge import random_adapter

Run = Callable[..., str]


@pytest.fixture
def base(llama: Path) -> BaseProfile:
    return BaseProfile.read(llama)


@pytest.fixture
def version(paths: Paths, base: BaseProfile, tmp_path: Path) -> AdapterManifest:
    folder = random_adapter(base, tmp_path / "plain", 1, use_rslora=True)
    registry = AdapterRegistry(paths)
    return registry.add(folder, "tone", base=base, prompt_format="sentences", note="For tests")


@pytest.fixture
def run(paths: Paths, base: BaseProfile, tmp_path: Path) -> Run:
    def invoke(*arguments: str, served: Path = base.folder) -> str:
        place = Workplace(paths, tmp_path / "domains", str(served), 64)
        done = CliRunner().invoke(adapters_app, arguments, obj=lambda: place)
        if isinstance(done.exception, DslmError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return invoke


def logits(base: Path, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    causal: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        causal = PeftModel.from_pretrained(causal, adapter)
    with torch.no_grad():
        return causal.eval()(torch.arange(6, 60)[None]).logits


def test_an_adapter_that_went_out_comes_back_as_the_same_version(
    run: Run, version: AdapterManifest, base: BaseProfile, tmp_path: Path
) -> None:
    run("export", "tone", "--to", str(tmp_path / "out"))
    incoming = Incoming(str(tmp_path / "out"))
    again = take(AdapterRegistry(Paths(tmp_path / "other")), base, incoming)
    assert again.model_copy(update={"created": version.created}) == version
    assert "# tone@1" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_a_merged_base_answers_as_base_and_adapter_do(
    run: Run, version: AdapterManifest, paths: Paths, base: BaseProfile, tmp_path: Path
) -> None:
    said = run("export", "tone", "--format", "merged", "--to", str(tmp_path / "out"))
    wanted = logits(base.folder, AdapterRegistry(paths).folder(version))
    effect = logits(base.folder) - wanted
    assert (logits(tmp_path / "out") - wanted).norm() < 1e-4 * effect.norm()
    assert effect.abs().max() > 0.1
    assert "0.00% of the effect lost" in said
    before, after = (
        load_file(folder / "model.safetensors") for folder in (base.folder, tmp_path / "out")
    )
    changed = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    assert np.array_equal(before["model.norm.weight"], after["model.norm.weight"])
    assert BaseProfile.read(tmp_path / "out").parts["chat template"] == base.parts["chat template"]


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_a_head_that_shares_the_embedding_gets_its_own_where_one_changes(
    base: BaseProfile, tmp_path: Path, target: str
) -> None:
    vocabulary, hidden = base.modules["model.embed_tokens"]
    chance = np.random.default_rng(3)

    def drawn(*shape: int) -> Any:
        return chance.normal(size=shape).astype(np.float32)

    stem = "base_model.model."
    tensors = {
        "lm_head": {
            f"{stem}lm_head.lora_A.weight": drawn(4, hidden),
            f"{stem}lm_head.lora_B.weight": drawn(vocabulary, 4),
        },
        "embed_tokens": {
            f"{stem}model.embed_tokens.lora_embedding_A": drawn(4, vocabulary),
            f"{stem}model.embed_tokens.lora_embedding_B": drawn(hidden, 4),
        },
    }[target]
    folder, out = tmp_path / "adapter", tmp_path / "out"
    for place in (folder, out):
        place.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 2,
        "target_modules": [target],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    write_merged(folder, base, out)
    assert json.loads((out / "config.json").read_bytes())["tie_word_embeddings"] is False
    merged = load_file(out / "model.safetensors")
    tied = load_file(base.folder / "model.safetensors")["model.embed_tokens.weight"]
    a, b = tensors.values()
    change = 0.5 * (b @ a if target == "lm_head" else (b @ a).T)
    changed, same = ("lm_head", "model.embed_tokens")
    if target == "embed_tokens":
        changed, same = same, changed
    assert np.abs(merged[f"{changed}.weight"] - tied - change).max() < 1e-5
    assert np.array_equal(merged[f"{same}.weight"], tied)
    assert logits(out).isfinite().all()


def test_what_rounding_would_lose_is_refused_and_nothing_is_left(
    run: Run, paths: Paths, base: BaseProfile, llama: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    halved = tmp_path / "halved"
    AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16).save_pretrained(halved)
    AutoTokenizer.from_pretrained(llama).save_pretrained(halved)
    half = BaseProfile.read(halved)
    folder = random_adapter(half, tmp_path / "weak", 1)
    weights = folder / "adapter_model.safetensors"
    save_file({k: v * np.float32(0.01) for k, v in load_file(weights).items()}, weights)
    AdapterRegistry(paths).add(folder, "weak", base=half, prompt_format="sentences")
    options = ["export", "weak", "--format", "merged", "--to", str(tmp_path / "out")]
    with pytest.raises(AdapterRefused, match="of its effect to rounding"):
        run(*options, served=halved)
    assert not (tmp_path / "out").exists()
    run(*options, "--no-check", served=halved)
    assert BaseProfile.read(tmp_path / "out").layers == 2


def test_packed_weights_and_other_bases_are_refused(
    run: Run, version: AdapterManifest, paths: Paths, base: BaseProfile, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for file in base.folder.iterdir():
        (packed / file.name).write_bytes(file.read_bytes())
    config = json.loads((packed / "config.json").read_bytes())
    config["quantization_config"] = {"bits": 4}
    (packed / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BaseRefused, match="packed"):
        write_merged(AdapterRegistry(paths).folder(version), BaseProfile.read(packed), tmp_path)
    with pytest.raises(AdapterRefused, match="was trained on"):
        run("export", "tone", "--format", "merged", "--to", "x", served=packed)


def test_a_dry_run_and_a_full_folder_write_nothing(
    run: Run, version: AdapterManifest, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    assert "would go to" in run("export", "tone", "--to", str(target), "--dry-run")
    assert not target.exists()
    target.mkdir()
    (target / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="not an empty folder"):
        run("export", "tone", "--to", str(target))
    assert [file.name for file in target.iterdir()] == ["mine.txt"]


def test_an_export_goes_to_a_url_and_what_tells_that_it_is_whole_goes_last(
    run: Run, version: AdapterManifest, base: BaseProfile, tmp_path: Path
) -> None:
    run("export", "tone", "--to", "memory://bucket/tone")
    again = take(AdapterRegistry(Paths(tmp_path / "o")), base, Incoming("memory://bucket/tone"))
    assert again.digest == version.digest
    assert len(fsspec.filesystem("memory").ls("/bucket/tone")) == 4
    for name in ("z.safetensors", "adapter_config.json", "a.txt"):
        (tmp_path / "w").mkdir(exist_ok=True)
        (tmp_path / "w" / name).write_text("", encoding="utf-8")
    assert ordered(tmp_path / "w")[-1].name == "adapter_config.json"


class Hub:
    """What is asked of the hub's client; `full`: it takes nothing."""

    made: list[tuple[str, bool, list[str]]] = []  # noqa: RUF012 - read by the test, made anew there
    full = False

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        if self.full:
            raise OSError("402 no room\nlater lines")
        self.made.append((repository, private, []))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.made[-1][2].extend(sorted(file.name for file in folder_path.iterdir()))


def test_an_export_goes_to_the_hub_in_one_commit_and_private(
    run: Run, version: AdapterManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "made", [])
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    run("export", "tone", "--to", "hf://owner/tone")
    files = ["README.md", "adapter.json", "adapter_config.json", "adapter_model.safetensors"]
    assert Hub.made == [("owner/tone", True, files)]
    monkeypatch.setattr(Hub, "full", True)
    with pytest.raises(NotDelivered, match=r"took nothing \(402 no room\)"):
        run("export", "tone", "--to", "hf://owner/tone")
    with pytest.raises(BadInput, match="no repository of the hub"):
        run("export", "tone", "--to", "hf://tone")


def test_an_export_that_breaks_off_leaves_no_folder(tmp_path: Path) -> None:
    with contextlib.suppress(RuntimeError), delivered(str(tmp_path / "out")) as stage:
        (stage / "half").write_text("", encoding="utf-8")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


CONVERTER = """
import json, sys
from pathlib import Path
merged, _, file, _, kind = sys.argv[1:]
if kind == "q8_0":
    sys.exit("unknown tokenizer")
told = sorted(one.name for one in Path(merged).iterdir())
Path(file).write_text("GGUF" + json.dumps([kind, told]))
"""


def test_a_gguf_is_made_by_llama_cpps_converter_with_a_modelfile_beside_it(
    run: Run, version: AdapterManifest, base: BaseProfile, tmp_path: Path
) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text(CONVERTER, encoding="utf-8")
    options = ["export", "tone", "--format", "gguf", "--converter", str(script), "--no-check"]
    run(*options, "--to", str(tmp_path / "out"))
    made = (tmp_path / "out" / "tone-1-bf16.gguf").read_text("utf-8")
    assert made.startswith("GGUF")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(json.loads(made[4:])[1])
    lines = (tmp_path / "out" / "Modelfile").read_text("utf-8").splitlines()
    assert lines[0] == "FROM ./tone-1-bf16.gguf"
    assert 'PARAMETER stop "</s>"' in lines
    assert any(line.startswith('TEMPLATE """') for line in lines)
    with pytest.raises(ConversionFailed, match="ended with 1: unknown tokenizer"):
        run(*options, "--type", "q8_0", "--to", str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_without_llama_cpp_it_is_said_what_to_install(
    run: Run, version: AdapterManifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"git clone .*llama\.cpp"):
        run("export", "tone", "--format", "gguf", "--to", str(tmp_path / "out"))
