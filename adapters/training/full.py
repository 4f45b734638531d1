"""A base trained in full: every weight learns, and what comes of it is a base, not an adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from transformers import AutoConfig

from adapters.base import BaseProfile
from adapters.training.lora import Learner
from indexer.settings import store_errors

_KEPT: Final = (".json", ".jinja", ".model", ".txt")
_INDEX: Final = ".index.json"


def save_base(learner: Learner, base: BaseProfile, stage: Path) -> None:
    """Write the weights in the base's own number format, beside its tokenizer and templates."""
    dtype = AutoConfig.from_pretrained(base.folder).dtype or "float32"
    with store_errors(stage):
        for file in base.folder.rglob("*"):
            if file.suffix in _KEPT and not file.name.endswith(_INDEX):
                place = stage / file.relative_to(base.folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
        learner.lora.to(dtype).save_pretrained(stage)
        for file in stage.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
