"""Who uses a snapshot: a shared lock on its manifest, which ends with the process at the latest.

Nothing is written for it, so it works where the store can only be read.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from indexer.errors import StoreError
from indexer.settings import store_errors
from indexer.store.manifest import FILE_NAME


class Lease:
    """Held from its making on: nobody removes the snapshot before `release`, or our end.

    StoreError when the snapshot is not there, or is being removed.
    """

    def __init__(self, snapshot: Path) -> None:
        path = snapshot / FILE_NAME
        with store_errors(path):
            self._file = path.open("rb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            still_there = os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except OSError:
            still_there = False
        if not still_there:
            self._file.close()
            raise StoreError(
                f"The snapshot {snapshot} is being removed",
                "Use another, or index the domain again",
            )

    def release(self) -> None:
        """Idempotent."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.release()


@contextlib.contextmanager
def sole(snapshot: Path) -> Iterator[bool]:
    """Whether nobody else uses the snapshot, and then nobody does until this ends."""
    path = snapshot / FILE_NAME
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
