"""Compile for a root that is read-only later: `python -m deploy.setup.compiling FOLDER`.

Some packages carry files for another Python, which cannot be compiled and are never imported.
"""

from __future__ import annotations

import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode


def main() -> int:
    """Exit code 0, or 2 where a folder is not there."""
    places = [Path(name) for name in sys.argv[1:]]
    missing = [str(place) for place in places if not place.exists()]
    if missing or not places:
        print(f"error: there is no {', '.join(missing) or 'folder to compile'}", file=sys.stderr)
        return 2
    for place in places:
        compiled(place)
    return 0


def compiled(place: Path) -> None:
    """Never compared with the source again: nothing in the image changes."""
    mode = PycInvalidationMode.UNCHECKED_HASH
    if place.is_dir():
        compileall.compile_dir(place, quiet=2, workers=0, invalidation_mode=mode)
    else:
        compileall.compile_file(place, quiet=2, invalidation_mode=mode)


if __name__ == "__main__":
    sys.exit(main())
