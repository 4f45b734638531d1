"""Work done in a process of its own: it may crash, and it runs beside this one."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from indexer.errors import StoreError

_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.02


class Aside:
    """`python -m module arguments...` from here on; killed if it is left before its end."""

    def __init__(self, module: str, *arguments: Path) -> None:
        self._what = f"{module} {' '.join(map(str, arguments))}"
        command = [sys.executable, "-m", module, *(str(one.resolve()) for one in arguments)]
        self._said = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=self._said
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._said.close()

    def join(self, waiting: Callable[[], None]) -> None:
        """StoreError with its last words if it fails; `waiting` is called until it ends."""
        while self._child.poll() is None:
            waiting()
            time.sleep(_POLL_SECONDS)
        code = self._child.returncode
        if code < 0:
            raise StoreError(f"{self._what} ends by signal {-code}")
        if code:
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            raise StoreError(lines[-1] if lines else f"{self._what} fails with {code}")
