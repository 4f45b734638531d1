"""One job per domain."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from indexer.errors import StoreError
from indexer.settings import store_errors


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The lock goes with the process that holds it, however it ends. StoreError: it is held."""
    path = folder / "index.lock"
    with store_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"Another job is indexing here: it holds {path}", "Wait until it has ended"
            ) from error
        yield
