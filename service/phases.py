"""How long each phase of a request took: noted where it happens, told at its end."""

from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import Literal, NamedTuple, TypeAlias

PhaseName: TypeAlias = Literal["admission", "retrieval", "compose", "engine"]


class Phase(NamedTuple):
    """Seconds of `time.perf_counter`."""

    name: PhaseName
    began: float
    ended: float


class Clock:
    """One request's. `first`: when the first byte of a streamed answer went out."""

    __slots__ = ("began", "first", "phases")

    def __init__(self) -> None:
        self.began = perf_counter()
        self.first: float | None = None
        self.phases: list[Phase] = []

    def start(self) -> None:
        """Note the phases of what runs from here on in this task and in what it starts."""
        _CLOCK.set(self)

    def mark_first(self) -> None:
        if self.first is None:
            self.first = perf_counter()


class phase:
    """Notes how long its block took for the request that it runs in, if it runs in one."""

    __slots__ = ("_began", "_name")

    def __init__(self, name: PhaseName) -> None:
        self._name: PhaseName = name

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        clock = _CLOCK.get()
        if clock is not None:
            clock.phases.append(Phase(self._name, self._began, perf_counter()))


# What goes with a request to an engine besides its body: the trace that it belongs to.
OUTGOING: ContextVar[dict[str, str] | None] = ContextVar("outgoing", default=None)
_CLOCK: ContextVar[Clock | None] = ContextVar("clock", default=None)
