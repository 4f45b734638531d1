"""GGUF, for llama.cpp and Ollama, by llama.cpp's own converter, which must be installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from indexer.errors import BadInput, DslmError

COMMANDS: Final = ("llama-convert-hf-to-gguf", "convert_hf_to_gguf.py")
TYPES: Final = ("bf16", "f16", "f32", "q8_0")


class ConversionFailed(DslmError):
    """llama.cpp's converter ended with an error; what it said last is the message."""


def find_converter(given: Path | None) -> list[str]:
    """How to start it. BadInput says what to install."""
    found = given or next((Path(one) for name in COMMANDS if (one := shutil.which(name))), None)
    if found is None or not found.is_file():
        named = f"{given} is no file" if given else "llama.cpp's converter is not installed"
        raise BadInput(
            named,
            "Run `git clone https://github.com/ggml-org/llama.cpp` and"
            " `pip install gguf sentencepiece`, and name llama.cpp/convert_hf_to_gguf.py by"
            " --converter",
        )
    return [sys.executable, str(found)] if found.suffix == ".py" else [str(found)]


def convert(converter: list[str], merged: Path, file: Path, kind: str) -> None:
    """Write one GGUF file; the converter's own words go to stderr."""
    command = [*converter, str(merged), "--outfile", str(file), "--outtype", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode or not file.is_file():
        said = (done.stderr or done.stdout).strip().rpartition("\n")[2]

        raise ConversionFailed(
            f"{Path(converter[-1]).name} ended with {done.returncode}: {said[:500]}",
            "It must know the base's architecture and tokenizer; take its newest version",
        )
