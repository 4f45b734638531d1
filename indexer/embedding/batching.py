"""Which texts go through a model together, and the threads that take them through."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

import numpy as np

from indexer.records import Vectors

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Forward = Callable[[Sequence[Sequence[int]]], Vectors]

_WORTH_A_PROOF = 4  # texts: fewer take no longer alone than together and once more for the proof


def within_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Rows, longest first, in batches whose padded size is within `budget` tokens, or of one."""
    batches: list[list[int]] = []
    for row in _longest_first(lengths):
        batch = batches[-1] if batches else []
        if batch and (len(batch) + 1) * max(lengths[batch[0]], 1) <= budget:
            batch.append(row)
        else:
            batches.append([row])
    return batches


def of_one_length(lengths: Sequence[int], largest: int) -> list[list[int]]:
    """Rows, longest first, in batches of at most `largest` that need no padding."""
    return [
        rows[start : start + largest]
        for _, group in groupby(_longest_first(lengths), key=lambda row: lengths[row])
        for rows in [list(group)]
        for start in range(0, len(rows), largest)
    ]


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> Generator[_Result, None, None]:
    """The results in the order of `items`, of which a few are worked on ahead.

    Leaving the loop drops what has not begun and waits for what has.
    """
    ahead: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads, "embed")
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class SameBits:
    """Lets texts of one length share a batch only where each gets the bits it gets alone.

    Whether it does is up to the processor and the libraries, by the shape of the work. So the
    first batch of a length that is worth it is compared with its last text alone; larger ones are
    parted to its size from then on, and if the bits differ, texts of that length go alone. That
    way a vector depends on its text only, and a job that was killed and resumed ends with the same
    bytes.
    """

    def __init__(self, forward: _Forward) -> None:
        self._forward = forward
        self._trusted: dict[int, int] = {}

    def __call__(self, batch: Sequence[Sequence[int]]) -> Vectors:
        """Token ids of texts of one length; unit rows [n, dimension]."""
        length = len(batch[0])
        trusted = self._trusted.get(length)
        if trusted is None and len(batch) >= _WORTH_A_PROOF:
            together = self._forward(batch)
            same = np.array_equal(together[-1:], self._forward(batch[-1:]))
            self._trusted[length] = len(batch) if same else 1
            if same:
                return together
        most = trusted or 1
        parts = [batch[start : start + most] for start in range(0, len(batch), most)]
        return np.concatenate([self._forward(part) for part in parts])
