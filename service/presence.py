"""Which services live: each holds a lock on a file of its own, which the system frees if it dies.

Several services may use one engine, or work on one store, also from different machines: ids of
processes would say nothing there. What a service loads, and the jobs that it runs, carry its token:
so none touches what another uses, and what a dead one left behind can be told from what is in use.
"""

import contextlib
import fcntl
import logging
import secrets
from pathlib import Path
from typing import IO

log = logging.getLogger("dslm.presence")


class Presence:
    """This service among those that share a store."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(4)
        self._file: IO[bytes] | None = None
        self._announced = False

    def announce(self, folder: Path) -> None:
        """Hold the lock from now on; in a store that cannot be written, do without."""
        if self._announced:
            return
        self._announced = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / self.token).open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("if this service is killed, nobody will see that by its file: %s", error)

    def withdraw(self, *, is_clean: bool) -> None:
        """End, as death does; leave no file if nothing is left that carries the token."""
        if self._file is not None:
            if is_clean:
                Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file, self._announced = None, False


def has_ended(folder: Path, token: str) -> bool:
    """Did the service of this token die? Not if its file is unknown: it may use another store."""
    with contextlib.suppress(OSError), (folder / token).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    return False
