"""AdapterRegistry: versions by content, found by name, number and digest."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters import intake
from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.manifest import AdapterCard, BaseIdentity, TrainedWith, to_json
from adapters.registry import AdapterRegistry
from adapters.verify import verify_adapter
from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths

if TYPE_CHECKING:
    from .conftest import WriteAdapter, WriteBase


@pytest.fixture
def registry(paths: Paths) -> AdapterRegistry:
    return AdapterRegistry(paths)


def write_card(folder: Path, base: BaseProfile, **changes: Any) -> None:
    card = AdapterCard(
        name="style",
        base=BaseIdentity(name=base.name, digest=base.digest, parts=dict(base.parts)),
        prompt_format="passages",
        trained_with=TrainedWith(passages=True),
        dataset_digest="abc",
    )
    (folder / "adapter.json").write_bytes(to_json(card.model_copy(update=changes)))


def test_an_added_adapter_is_found_by_name_number_and_digest(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    added = registry.add(write_adapter(), "style", base=base, prompt_format="sentences")
    assert added.label == "style@1"
    for reference in ("style", "style@1", added.digest[:8], added.digest):
        assert registry.get(reference) == added
    assert registry.engine_name(added) == f"style@{added.digest[:12]}"
    assert sorted(path.name for path in registry.folder(added).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]


def test_a_name_means_its_newest_version(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    for seed in (1, 2):
        folder = write_adapter(tensors(seed=seed), f"v{seed}")
        registry.add(folder, "style", base=base, prompt_format="sentences")
    assert registry.get("style").version == 2
    assert [manifest.label for manifest in registry.list()] == ["style@1", "style@2"]


def test_adding_the_same_content_again_changes_nothing(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", paths: Paths
) -> None:
    folder = write_adapter()
    first = registry.add(folder, "style", base=base, prompt_format="sentences")
    before = paths.names.read_bytes()
    assert registry.add(folder, "style", base=base, prompt_format="sentences") == first
    assert paths.names.read_bytes() == before


def test_the_same_weights_with_another_prompt_format_are_another_version(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    folder = write_adapter()
    first = registry.add(folder, "style", base=base, prompt_format="sentences")
    second = registry.add(folder, "style", base=base, prompt_format="passages")
    assert (first.version, second.version) == (1, 2)


def test_the_card_that_training_left_says_the_rest(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    folder = write_adapter()
    write_card(folder, base)
    added = registry.add(folder, base=base)
    assert (added.name, added.prompt_format, added.dataset_digest) == ("style", "passages", "abc")
    assert added.trained_with.passages
    assert registry.add(folder, "other", base=base).name == "other"


def test_without_card_or_option_the_prompt_format_is_asked_for(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    with pytest.raises(BadInput, match="prompt format"):
        registry.add(write_adapter(), "style", base=base)


def test_a_card_from_another_base_is_refused(
    registry: AdapterRegistry,
    base: BaseProfile,
    write_base: "WriteBase",
    write_adapter: "WriteAdapter",
    paths: Paths,
) -> None:
    folder = write_adapter()
    write_card(folder, BaseProfile.read(write_base("other", seed=5)))
    with pytest.raises(AdapterRefused, match="another base"):
        registry.add(folder, base=base)
    assert not paths.names.exists()


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("chat_template.jinja", "{{ messages }} ", "chat template"),
        ("tokenizer.json", '{"model": 1}', "tokenizer"),
        ("config.json", None, "configuration"),
    ],
)
def test_a_card_from_another_base_says_which_part_of_it_differs(
    registry: AdapterRegistry,
    base: BaseProfile,
    write_adapter: "WriteAdapter",
    file: str,
    content: str | None,
    part: str,
) -> None:
    folder = write_adapter()
    write_card(folder, base)
    config = json.loads((base.folder / "config.json").read_bytes()) | {"rope_theta": 5}
    (base.folder / file).write_text(content or json.dumps(config), encoding="utf-8")
    with pytest.raises(AdapterRefused, match=f": another {part}"):
        registry.add(folder, base=BaseProfile.read(base.folder))


def test_what_a_version_was_trained_on_is_kept_part_by_part(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    added = registry.add(write_adapter(), "style", base=base, prompt_format="sentences")
    assert sorted(added.base.parts) == ["chat template", "configuration", "tokenizer", "weights"]
    assert registry.get("style").base.parts == dict(base.parts)


def test_a_broken_card_names_its_field(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    folder = write_adapter()
    write_card(folder, base)
    card = json.loads((folder / "adapter.json").read_bytes()) | {"prompt_format": "verse"}
    (folder / "adapter.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(AdapterRefused, match="prompt_format"):
        registry.add(folder, base=base)


def test_a_refused_adapter_leaves_the_store_as_it_was(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", paths: Paths
) -> None:
    with pytest.raises(AdapterRefused):
        registry.add(write_adapter(lora_alpha=0), "style", base=base, prompt_format="sentences")
    assert not paths.adapters.exists()


@pytest.mark.parametrize("name", ["", "Style", "a b", "../x", "1a", "a" * 42, "style@1"])
def test_a_name_that_is_no_name_is_refused(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", name: str
) -> None:
    with pytest.raises(BadInput, match="no adapter name"):
        registry.add(write_adapter(), name, base=base, prompt_format="sentences")


@pytest.mark.parametrize("reference", ["stile", "style@2", "style@0", "style@x", "ffffff", "", "@"])
def test_an_unknown_reference_says_what_is_known(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", reference: str
) -> None:
    registry.add(write_adapter(), "style", base=base, prompt_format="sentences")
    with pytest.raises(NotFound, match=r"style|1 to 1"):
        registry.get(reference)


def test_what_an_interrupted_add_left_is_replaced(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", paths: Paths
) -> None:
    folder = write_adapter()
    added = registry.add(folder, "style", base=base, prompt_format="sentences")
    paths.names.unlink()
    (registry.folder(added) / "manifest.json").unlink()
    again = registry.add(folder, "style", base=base, prompt_format="sentences")
    assert registry.get("style") == again


def test_a_damaged_manifest_names_the_file(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    added = registry.add(write_adapter(), "style", base=base, prompt_format="sentences")
    (registry.folder(added) / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        registry.get("style")


def test_damaged_names_name_the_file(registry: AdapterRegistry, paths: Paths) -> None:
    paths.adapters.mkdir(parents=True)
    paths.names.write_text("[", encoding="utf-8")
    with pytest.raises(StoreError, match=r"names\.json"):
        registry.list()


def add_one(root: Path, folder: Path, base_folder: Path) -> None:
    registry = AdapterRegistry(Paths(root))
    registry.add(folder, "style", base=BaseProfile.read(base_folder), prompt_format="sentences")


def test_adds_at_the_same_time_all_get_their_own_version(
    paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    folders = [write_adapter(tensors(seed=seed), f"v{seed}") for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(add_one, paths.root, folder, base.folder) for folder in folders]
        for added in adding:
            added.result()
    versions = sorted(manifest.version for manifest in AdapterRegistry(paths).list())
    assert versions == [1, 2, 3, 4]


def test_the_folder_given_may_be_deleted_afterwards(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    folder = write_adapter()
    added = registry.add(folder, "style", base=base, prompt_format="sentences")
    shutil.rmtree(folder)
    assert (registry.folder(added) / "adapter_model.safetensors").stat().st_size > 100


def test_what_changes_after_it_was_verified_is_not_stored(
    registry: AdapterRegistry,
    base: BaseProfile,
    write_adapter: "WriteAdapter",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_adapter()
    weights = folder / "adapter_model.safetensors"

    def verify_then_change(*given: Any) -> Any:
        facts = verify_adapter(*given)
        weights.write_bytes(weights.read_bytes() + b"more")
        return facts

    monkeypatch.setattr(intake, "verify_adapter", verify_then_change)
    with pytest.raises(AdapterRefused, match="changed while it was added"):
        registry.add(folder, "style", base=base, prompt_format="sentences")
    assert registry.list() == []


def test_what_changes_while_it_is_copied_is_not_stored(
    registry: AdapterRegistry,
    base: BaseProfile,
    write_adapter: "WriteAdapter",
    monkeypatch: pytest.MonkeyPatch,
    paths: Paths,
) -> None:
    def copy_other(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + b"more")

    monkeypatch.setattr(shutil, "copyfile", copy_other)
    with pytest.raises(AdapterRefused, match="changed while it was added"):
        registry.add(write_adapter(), "style", base=base, prompt_format="sentences")
    assert registry.list() == []
    assert not list(paths.adapters.glob(".adding-*"))
