"""Put what only training uses into `.venv/train`; a second run finds it done.

bitsandbytes in `.venv` itself would make every start of the service a second slower: transformers
looks for it at each import. In a folder of its own only `dslm adapters train` pays for it.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from deploy.setup.packages import HERE, QUICK, ROOT, Progress, SetupError, interpreter, pip

LOCK = HERE / "requirements-train.txt"


def main() -> int:
    """Exit code 0 when it is there, 1 with one line to stderr when it cannot be."""
    venv = ROOT / ".venv"
    if not interpreter(venv).exists():
        print(
            "error: there is no .venv yet. Run `make setup`, which does this too", file=sys.stderr
        )
        return 1
    try:
        install_training(venv, Progress())
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def folder(venv: Path) -> Path:
    """Where the packages lie; `adapters.training.extras` looks there."""
    return venv / "train"


def install_training(venv: Path, progress: Progress) -> None:
    """Install what is pinned, unless it is there. The stamp is written last."""
    target, wanted = folder(venv), hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = target / "set-up"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    pip(venv, progress, "install", *QUICK, "--target", str(target), "-r", str(LOCK))
    stamp.write_text(wanted, encoding="utf-8")


def try_training(venv: Path, progress: Progress) -> None:
    """Serving needs none of it: what stands in the way is said, and the set-up goes on."""
    try:
        install_training(venv, progress)
    except SetupError as error:
        progress.say(f"QLoRA cannot be used: {error}. `make training` tries it again")


if __name__ == "__main__":
    sys.exit(main())
