"""Examples to train, validation and test: what belongs together stays together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.rows.example import Example


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all rows; the rest is for training."""

    validation: float = 0.05
    test: float = 0.05


def families(examples: Sequence[Example], kin: Mapping[int, int]) -> list[list[int]]:
    """Numbers of examples that share a group, or ask alike, directly or through others."""
    parent = list(range(len(examples)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    groups: dict[str, int] = {}
    for number, example in enumerate(examples):
        parent[root(number)] = root(kin[number])
        if example.group:
            parent[root(number)] = root(groups.setdefault(example.group, number))
    found = defaultdict(list)
    for number in range(len(examples)):
        found[root(number)].append(number)
    return list(found.values())


def split(
    examples: Sequence[Example], kin: Mapping[int, int], shares: Shares, seed: int
) -> dict[str, list[int]]:
    """The numbers of each split, in their order; the same for the same examples and seed.

    Whole families are dealt, in an order that their text and the seed decide, so a split may be
    smaller than its share by less than the next family that did not fit into it.
    """
    dealt = sorted(families(examples, kin), key=lambda family: _lot(examples[family[0]], seed))
    room = {"test": shares.test * len(examples), "validation": shares.validation * len(examples)}
    made: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for family in dealt:
        name = next((one for one in room if len(made[one]) + len(family) <= room[one]), "train")
        made[name] += family
    return {name: sorted(numbers) for name, numbers in made.items()}


def draw(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """So many of them, or all, by lot; the same for the same examples and seed."""
    return sorted(examples, key=lambda example: _lot(example, seed))[:count]


def _lot(example: Example, seed: int) -> str:
    return hashlib.sha256(f"{seed} {example.digest}".encode()).hexdigest()
