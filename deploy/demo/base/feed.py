"""The endless, repeatable stream of training batches and its curriculum."""

import itertools
import random
from dataclasses import dataclass

from torch.utils.data import Dataset

from deploy.demo.base.encoding import Batch, Encoded, Encoder, collate
from deploy.demo.base.labels import label_row
from deploy.demo.base.makers import Maker, Material
from deploy.demo.base.rows import Row, Size

POOL = 96


@dataclass(frozen=True)
class Stage:
    """Until ``pools`` pools are made, rows have these sizes and this mixture."""

    pools: int
    sizes: tuple[Size, ...]
    longest: int
    labels: float
    topics: float
    facts: float
    drills: float = 0.0
    refused: float = 0.27


# Few short sentences first: matching words is learned late, and faster where there is less to read.
STAGES = (
    Stage(20, (Size(3, 6, 0.0),), 220, 0.0, 0.0, 0.05, drills=0.75, refused=0.08),
    Stage(125, (Size(3, 8, 0.1),), 400, 0.12, 0.12, 0.13, drills=0.12, refused=0.12),
    Stage(190, (Size(3, 14, 0.2),), 650, 0.15, 0.15, 0.15, drills=0.05, refused=0.2),
    Stage(10**9, (Size(4, 12), Size(8, 20), Size(8, 20), Size(16, 32)), 1400, 0.2, 0.17, 0.16),
)


def stage_of(pool: int) -> Stage:
    """The stage a pool belongs to."""
    return next(stage for stage in STAGES if pool < stage.pools)


class Feed(Dataset[list[Batch]]):
    """Item ``i`` is always the same list of batches, so that a run can continue anywhere."""

    def __init__(self, material: Material, encoder: Encoder, seed: int, batch_tokens: int) -> None:
        self.material, self.encoder = material, encoder
        self.seed, self.batch_tokens = seed, batch_tokens

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, pool: int) -> list[Batch]:
        rng = random.Random(self.seed * 1_000_003 + pool)
        maker = Maker(self.material, rng)
        stage = stage_of(pool)
        rows = sorted((self._row(maker, stage) for _ in range(POOL)), key=lambda r: len(r.tokens))
        batches = [collate(group) for group in self._groups(rows)]
        rng.shuffle(batches)
        return batches

    def _groups(self, rows: list[Encoded]) -> list[list[Encoded]]:
        groups: list[list[Encoded]] = [[]]
        for row in rows:
            if groups[-1] and len(row.tokens) * (len(groups[-1]) + 1) > self.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        return groups

    def _row(self, maker: Maker, stage: Stage) -> Encoded:
        kind, size = maker.rng.random(), maker.rng.choice(stage.sizes)
        while True:
            row = self._try(maker, stage, size, kind)
            if row is not None:
                encoded = self.encoder(row)
                if len(encoded.tokens) <= stage.longest:
                    return encoded

    def _try(self, maker: Maker, stage: Stage, size: Size, kind: float) -> Row | None:
        if kind < stage.labels:
            return label_row(maker)
        count = maker.rng.randint(size.least, size.most)
        shares = (stage.labels, stage.topics, stage.facts, stage.drills)
        bounds = list(itertools.accumulate(shares))
        if kind < bounds[1]:
            case = maker.topic(count, 0.75 * stage.refused)
        elif kind < bounds[2]:
            case = maker.fact(count, stage.refused)
        elif kind < bounds[3]:
            case = maker.drill(count, stage.refused)
        else:
            case = maker.made(count, stage.refused)
        return maker.row(case, size) if case else None
