"""Which GPU for which base: how many adapters, how many answers of what length, what index.

The same formulas that share a GPU at a start (`memory`, `plan`), asked before there is one. What
they are made of, and what they were compared with, stands in deploy/docs/capacity.md.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from indexer.index.kinds import FLAT, FP16, IVF_RABITQ, IVF_SQ8, by_size, lists_for
from service.engines.command import slot_rank
from service.engines.machine import BATCH_BYTES, MIB, UNSEEN_BYTES
from service.engines.memory import CUDA_BYTES, GIB, slot_bytes, token_bytes, work_bytes
from service.engines.plan import Device, DoesNotFit, Need, gib, share_gpu
from service.engines.planned import usual_batch
from service.engines.shapes import PlannedBase, weigh

Weights = Literal["bf16", "fp8", "int4"]
SMALLER: Final[Mapping[Weights, tuple[Weights, ...]]] = {
    "bf16": ("fp8", "int4"),
    "fp8": ("int4",),
    "int4": (),
}

# What nvidia-smi reports as the total, in MiB; the boards of one name differ by less than 1 %.
GPUS: Final[Mapping[str, int]] = {
    "T4": 15_360,
    "L4": 23_034,
    "A10G": 23_028,
    "RTX4090": 24_564,
    "A100-40": 40_960,
    "L40S": 46_068,
    "A100-80": 81_920,
    "H100": 81_559,
    "H200": 143_771,
}
# Tensor parallelism in vLLM wants a number that divides the heads; boards come in these.
COUNTS: Final = (1, 2, 4, 8)
# Measured for deploy/docs/scale.md: bytes for each passage.
RECORDS, WORDS = 751, 266


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be served: `answers` at once of `context` tokens each, by `adapters` at once."""

    context: int
    answers: int
    adapters: int
    rank: int
    weights: Weights = "bf16"
    fp8_cache: bool = False

    @property
    def cache_size(self) -> float:
        """Bytes of one number in the KV cache."""
        return 1.0 if self.fp8_cache else 2.0


@dataclass(frozen=True, slots=True)
class Fit:
    """`count` GPUs of a kind under a wish; bytes are of one GPU. `answers` that its cache holds."""

    gpu: str
    count: int
    need: Need
    answers: int
    cache: int
    refusal: DoesNotFit | None = None

    @property
    def fits(self) -> bool:
        return self.answers >= self.need.answers


@dataclass(frozen=True, slots=True)
class IndexNeed:
    """Bytes of one snapshot: `vectors` in memory, `words` in page cache, `disk` in all."""

    kind: str
    vectors: int
    words: int
    disk: int


def need_on(base: PlannedBase, wish: Wish, device: Device, count: int) -> Need:
    """What each of `count` GPUs takes.

    Weights are split; KV heads too, until each GPU has one. A slot's halves are split only in
    part (vLLM's `--fully-sharded-loras`), so that a slot is counted whole: an upper bound.
    """
    numbers = base.numbers
    slot = slot_bytes(numbers.matrices, slot_rank(wish.rank))
    work = work_bytes(numbers, usual_batch(device), wish.answers) + CUDA_BYTES
    token = token_bytes(numbers, wish.cache_size) / min(count, base.kv_heads)
    return Need(
        engine=base.name,
        weights=math.ceil(weigh(numbers, wish.weights) / count),
        slots=slot * wish.adapters,
        work=work,
        token=math.ceil(token),
        context=wish.context,
        answers=wish.answers,
    )


def fit(base: PlannedBase, wish: Wish, gpu: str, count: int) -> Fit:
    """Beside the service with a base-sized embedding model, on the first of the GPUs."""
    device = Device(f"{count} x {gpu}" if count > 1 else gpu, GPUS[gpu] * MIB)
    beside = CUDA_BYTES // 2 + UNSEEN_BYTES // 2 + BATCH_BYTES
    need = need_on(base, wish, device, count)
    try:
        [ration] = share_gpu(device, [("the service and its embedder", beside)], [need])
    except DoesNotFit as error:
        return Fit(gpu, count, need, 0, 0, error)
    return Fit(gpu, count, need, ration.cache // (need.token * need.context), ration.cache)


def fits(base: PlannedBase, wish: Wish) -> Iterator[Fit]:
    """Of each kind of GPU as few as hold the wish, or else as many as can be."""
    for gpu in GPUS:
        yield fewest(base, wish, gpu)


def fewest(base: PlannedBase, wish: Wish, gpu: str) -> Fit:
    """The smallest number of them that holds the wish, or else the largest."""
    counts = [count for count in COUNTS if base.heads % count == 0]
    tried = fit(base, wish, gpu, counts[0])
    for count in counts[1:]:
        if tried.fits:
            break
        tried = fit(base, wish, gpu, count)
    return tried


def remedy(base: PlannedBase, wish: Wish, found: Fit) -> str:
    """What would make it fit, each thing tried by the same formulas; "" where it fits."""
    if found.fits:
        return ""
    ways = list(_ways(base, wish, found))
    return "; or ".join(ways) or "a larger GPU, more of them, or a smaller base"


def _ways(base: PlannedBase, wish: Wish, found: Fit) -> Iterator[str]:
    for count in COUNTS:
        more = count > found.count and base.heads % count == 0
        if more and fit(base, wish, found.gpu, count).fits:
            yield f"{count} of them"
            break
    if not wish.fp8_cache and _holds(base, replace(wish, fp8_cache=True), found):
        yield "--kv fp8"
    smaller = [replace(wish, weights=kind) for kind in SMALLER[wish.weights]]
    yield from (f"--weights {one.weights}" for one in smaller if _holds(base, one, found))
    if found.answers:
        yield f"--answers {found.answers}"
    if (room := found.cache // found.need.token // wish.answers // 256 * 256) >= 256:
        yield f"--context {room}"
    if wish.adapters > 1 and _holds(base, replace(wish, adapters=1), found):
        yield "fewer --adapters at once"


def _holds(base: PlannedBase, changed: Wish, found: Fit) -> bool:
    """Would the same GPUs hold another wish?"""
    return fit(base, changed, found.gpu, found.count).fits


def index_need(passages: int, dimensions: int, kind: str = "auto") -> IndexNeed:
    """Of one domain's index; IVF kinds hold their lists' centres besides."""
    kind = by_size(passages, dimensions) if kind == "auto" else kind
    each = {
        FLAT: 4 * dimensions,
        FP16: 2 * dimensions,
        IVF_SQ8: dimensions + 16,
        IVF_RABITQ: 2 * dimensions + dimensions // 8 + 20,
    }[kind]
    centres = 4 * dimensions * lists_for(passages) if kind in (IVF_SQ8, IVF_RABITQ) else 0
    vectors = passages * each + centres
    words = passages * WORDS
    return IndexNeed(kind, vectors, words, vectors + words + passages * RECORDS)


def registered_bytes(base: PlannedBase, rank: int, registered: int) -> int:
    """Of host memory, where vLLM keeps the adapters that are registered but not in a slot."""
    return slot_bytes(base.numbers.matrices, rank) * registered


def told_base(base: PlannedBase, wish: Wish) -> str:
    """One line for people."""
    slot = slot_bytes(base.numbers.matrices, slot_rank(wish.rank))
    token = token_bytes(base.numbers, wish.cache_size)
    return (
        f"{base.name}: weights {gib(weigh(base.numbers, wish.weights))} ({wish.weights}), "
        f"KV cache {token / 1024:.0f} KiB a token, "
        f"{gib(token * wish.context * wish.answers)} for {wish.answers} answers of "
        f"{wish.context:,} tokens, LoRA slot of rank {slot_rank(wish.rank)}: {slot / MIB:.0f} MiB"
    )


def told_fit(found: Fit) -> str:
    """One line for people."""
    need = found.need
    name = f"{found.count} x {found.gpu}"
    if not found.answers:
        missing = need.least - GPUS[found.gpu] * MIB
        by = f", by {gib(missing)}" if missing >= GIB // 10 else ""
        return f"{name:<12} no      does not start{by}"
    word = "yes" if found.fits else "short"
    return (
        f"{name:<12} {word:<7} {found.answers} answers; weights {gib(need.weights)}, slots "
        f"{gib(need.slots)}, work {gib(need.work)}, KV cache {gib(found.cache)}"
    )
