"""What is known about an adapter: the card it is trained with, the manifest it is stored with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.fingerprint import Fingerprint
from adapters.prompt import PromptFormat
from indexer.errors import StoreError
from indexer.settings import store_errors

CARD_FILE: Final = "adapter.json"
CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
MANIFEST_FILE: Final = "manifest.json"


class Pinned(BaseModel):
    """Frozen and strict: what was written is what is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Schema = TypeVar("Schema", bound=Pinned)


class BaseIdentity(Pinned):
    """The base by name, for people, and by digest, for checks; `parts` to tell what differs."""

    name: str
    digest: str
    parts: dict[str, str] = {}


class TrainedWith(Pinned):
    """Which parts of the prompt the training rows carried."""

    demonstrations: bool = False
    passages: bool = False


class TrainingRecord(Pinned):
    """How a training run went; losses are means per trained token."""

    rows: int
    skipped: int
    steps: int
    batch: int
    learning_rate: float
    seed: int
    method: str = "lora"
    first_loss: float
    last_loss: float


class Parent(Pinned):
    """A version that went into a merged one, and how strongly."""

    digest: str
    label: str
    weight: float


class MergeRecord(Pinned):
    """How versions were merged; `error` is the share of the change that a lower rank lost."""

    parents: tuple[Parent, ...]
    method: Literal["linear", "ties", "dare"]
    density: float
    seed: int
    error: float


class ImportRecord(Pinned):
    """Where a version that was made elsewhere came from, and what was changed in it, exactly."""

    source: str
    converted: tuple[str, ...] = ()


class AdapterCard(Pinned):
    """Lies beside a trained adapter's weights and says all that `adapters add` needs."""

    name: str
    base: BaseIdentity
    prompt_format: PromptFormat
    trained_with: TrainedWith
    dataset_digest: str
    note: str = ""
    training: TrainingRecord | None = None
    merged: MergeRecord | None = None
    imported: ImportRecord | None = None
    fingerprint: Fingerprint | None = None


class AdapterManifest(Pinned):
    """One immutable version in the registry; `files` maps names to sha256."""

    digest: str
    name: str
    version: int
    base: BaseIdentity
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    prompt_format: PromptFormat
    trained_with: TrainedWith
    dataset_digest: str
    created: datetime
    files: dict[str, str]
    note: str = ""
    training: TrainingRecord | None = None
    merged: MergeRecord | None = None
    imported: ImportRecord | None = None
    fingerprint: Fingerprint | None = None

    @property
    def label(self) -> str:
        """The public name, `name@version`."""
        return f"{self.name}@{self.version}"


def read_pinned(path: Path, schema: type[Schema]) -> Schema:
    """Read one JSON file of the store; StoreError if it is damaged."""
    with store_errors(path):
        content = path.read_bytes()
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(str(part) for part in reason["loc"]) or "the file"
        raise StoreError(
            f"{path} is damaged ({where}: {reason['msg']})", "Restore it from a backup"
        ) from error


def to_json(pinned: Pinned) -> bytes:
    """Indented JSON with a final newline."""
    return (pinned.model_dump_json(indent=2) + "\n").encode()
