"""Which form a store has, and the door through which an older one comes up to this program's.

VERSION holds one number. A store without it has form 1: there was no file before. A newer store is
refused, since what this program would write into it could not be read there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from adapters.locking import exclusive
from indexer.errors import StoreError
from indexer.settings import store_errors, write_atomically

FORMAT: Final = 1
FILE_NAME: Final = "VERSION"
# While a restore is under way, or was cut short, the store's parts do not belong together.
RESTORING: Final = ".restoring"

Step = Callable[[Path], None]
# The step at place n brings a store from form n + 1 to n + 2. None yet: form 1 is the first.
STEPS: Final[Sequence[Step]] = ()


def check_store(root: Path, newest: int = FORMAT) -> None:
    """StoreError if this program must not touch the store; reads two names and one small file."""
    if (root / RESTORING).exists():
        remedy = "Run `dslm restore` again: it goes on, or begins anew"
        raise StoreError(f"A restore into {root} has not ended", remedy)
    found = stored_format(root)
    if found > newest:
        raise StoreError(
            f"The store {root} has form {found}, this program knows up to {newest}",
            "Use the newer program, or restore a backup that was made by this one",
        )
    if found < newest:
        raise StoreError(
            f"The store {root} has form {found}, this program wants {newest}",
            "Run `dslm backup`, then `dslm migrate`",
        )


def open_store(root: Path) -> None:
    """As `check_store`, for whoever will write: says in the store which form it has."""
    check_store(root)
    if not (root / FILE_NAME).exists():
        with contextlib.suppress(StoreError):  # what can only be read may be served all the same
            mark_store(root, FORMAT)


def stored_format(root: Path) -> int:
    """StoreError if the file is there and holds no number."""
    path = root / FILE_NAME
    with store_errors(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return 1
    try:
        found = json.loads(content)["format"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise StoreError(f"{path} is damaged", "Restore it from a backup")
    return found


def mark_store(root: Path, number: int) -> None:
    write_atomically(root / FILE_NAME, json.dumps({"format": number}).encode() + b"\n")


def migrate(root: Path, steps: Sequence[Step] = STEPS) -> tuple[int, int]:
    """Take the steps that are left, one at a time; the form before and after.

    Each step must bear to be taken again: a kill before its mark is written repeats it.
    """
    newest = len(steps) + 1
    with exclusive(root / ".migrate.lock"):
        before = stored_format(root)
        if before > newest:
            check_store(root, newest)
        for number in range(before, newest):
            steps[number - 1](root)
            mark_store(root, number + 1)
    return before, max(before, newest)
