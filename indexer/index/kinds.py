"""Which kind of index for how many vectors, and which one next where its recall does not suffice.

The limits are what was measured on one thread (deploy/docs/indexes.md): they keep one search near
or below a millisecond. They count numbers, vectors times dimension, for that is what a scan reads.
"""

import math

FLAT, FP16, IVF_SQ8, IVF_RABITQ = "flat", "fp16", "ivf-sq8", "ivf-rabitq"
IVF = (IVF_SQ8, IVF_RABITQ)

# From the smallest to the most exact: each finds more of what is nearest than the one before.
_ORDER = (IVF_SQ8, IVF_RABITQ, FP16, FLAT)

_FLAT_NUMBERS = 5_000_000
_FP16_NUMBERS = 15_000_000
# FAISS warns below 39 training points per list: the lists then mean nothing.
_FEWEST_PER_LIST = 39
_POINTS_PER_LIST = 64
_FEWEST_LISTS = 8
_MOST_LISTS = 4096
# Fewer vectors than these cannot be asked enough made-up questions to measure a recall.
FEWEST = 256


def by_size(count: int, dimension: int) -> str:
    """The kind that `auto` means."""
    numbers = count * dimension
    if numbers <= _FLAT_NUMBERS:
        return FLAT
    return FP16 if numbers <= _FP16_NUMBERS else IVF_RABITQ


def candidates(asked: str, count: int, dimension: int) -> tuple[list[str], str]:
    """The kinds to try, in order, and why the first is not the one that was asked for, if so."""
    first = by_size(count, dimension) if asked == "auto" else asked
    better = list(_ORDER[_ORDER.index(first) :])
    if count < FEWEST and first != FLAT:
        return [FLAT], f"{count} vectors are too few to measure {first}"
    if first in IVF and lists_for(count) < _FEWEST_LISTS:
        return [FP16, FLAT], f"{count} vectors are too few to train {first}"
    return better, ""


def lists_for(count: int) -> int:
    """How many inverted lists: about the root, never so many that one has too few points."""
    return min(math.isqrt(count), count // _FEWEST_PER_LIST, _MOST_LISTS)


def training_points(count: int) -> int:
    """How many vectors train them; bounded, whatever the number of vectors."""
    return min(count, lists_for(count) * _POINTS_PER_LIST)
