"""Who uses a release: a shared lock on its file, which ends with the process at the latest.

Nothing is written for it, so it works where the store can only be read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from indexer.errors import StoreError
from indexer.settings import store_errors


class ReleaseLease:
    """Held from its making on: nobody prunes the release before `end`, or before our own end.

    StoreError when the file is not there, or is being removed.
    """

    def __init__(self, path: Path) -> None:
        with store_errors(path):
            self._descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            still_there = os.path.samestat(os.fstat(self._descriptor), path.stat())
        except OSError:
            still_there = False
        if not still_there:
            self.end()
            raise StoreError(f"The release {path} is being removed", "Use another")

    def end(self) -> None:
        """Once."""
        os.close(self._descriptor)


@contextlib.contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Whether no process uses the release, and then none begins to until this ends."""
    with store_errors(path):
        # Network file systems lock alone only what may be written; nothing is.
        file = path.open("r+b" if os.access(path, os.W_OK) else "rb")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            yield False
        else:
            yield True
