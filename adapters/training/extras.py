"""Packages that only training uses: in a folder beside the environment's own packages.

Nothing else pays for them: transformers looks for bitsandbytes at every import where it lies among
the others. `make setup` fills the folder. This module imports none of them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

from indexer.errors import BadInput

_STAMP: Final = "set-up"


def folder() -> Path:
    """In the environment that runs this."""
    return Path(sys.prefix) / "train"


def admit_extras(method: str) -> None:
    """Let this process import what the method needs; BadInput says how to install it.

    For a process that does nothing else: the first thing it does, before transformers and peft
    remember what they did not find.
    """
    place = str(folder())
    if method == "qlora" and (folder() / _STAMP).is_file() and place not in sys.path:
        sys.path.append(place)  # last, so that it hides nothing
    check_extras(method)


def check_extras(method: str) -> None:
    """BadInput if the method needs what this process cannot import."""
    if method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(
            "QLoRA needs bitsandbytes, which is not installed here",
            "Run `make training`, or train with --method lora",
        )
