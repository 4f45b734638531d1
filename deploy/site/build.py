"""Build the documentation site: `make site`. What it needs lies in `.venv/site`, on its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLACE = ROOT / ".venv" / "site"
PINS = HERE / "requirements.txt"


def main() -> int:
    """0 when it is built; else what pip or mkdocs ended with, after their own words."""
    python = PLACE / "bin" / "python"
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    stamp = PLACE / "set-up"
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        venv.create(PLACE, with_pip=True)
        quiet = ("install", "--quiet", "--disable-pip-version-check", "-r", str(PINS))
        if code := subprocess.run([str(python), "-m", "pip", *quiet], check=False).returncode:
            return code
        stamp.write_text(wanted, "utf-8")
    build = ("mkdocs", "build", "--strict", "--clean", "-f", str(HERE / "mkdocs.yml"))
    return subprocess.run([str(python), "-m", *build], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
