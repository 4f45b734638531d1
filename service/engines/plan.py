"""How the memory of one GPU, or of a CPU host, is shared: by engines, embedders and indexes.

Fixed are the weights, the LoRA slots and the room to compute. What is left holds the KV cache:
`--max-num-seqs` answers of the whole context at most, and one of them at least, or nothing starts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.errors import BadInput
from service.engines.memory import GIB

# What the driver and the allocators' waste take.
KEPT_FREE = 0.02
# A processor computes no more answers at once in bearable time.
CPU_ANSWERS = 16


class DoesNotFit(BadInput):
    """The memory is too small for what is to share it."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a CPU host's memory; `used`: by others, before anything of ours starts."""

    name: str
    total: int
    used: int = 0


@dataclass(frozen=True, slots=True)
class Need:
    """What one engine takes, in bytes; `token` is the KV cache of one, `share` a given share."""

    engine: str
    weights: int
    slots: int
    work: int
    token: int
    context: int
    answers: int
    share: float | None = None

    @property
    def fixed(self) -> int:
        return self.weights + self.slots + self.work

    @property
    def least(self) -> int:
        """With the KV cache of one answer of the whole context: vLLM starts with no less."""
        return self.fixed + self.token * self.context

    @property
    def most(self) -> int:
        """With that of every answer that it may write at once."""
        return self.fixed + self.token * self.context * self.answers


@dataclass(frozen=True, slots=True)
class Ration:
    """What an engine gets: `share` of the device, `cache` bytes of it for its KV cache."""

    need: Need
    share: float
    cache: int

    def __str__(self) -> str:
        need = self.need
        tokens = self.cache // need.token
        whole = min(tokens // need.context, need.answers)
        return (
            f"{gib(need.fixed + self.cache)}  {need.engine}: weights {gib(need.weights)}, "
            f"LoRA slots {gib(need.slots)}, work {gib(need.work)}, KV cache {gib(self.cache)} "
            f"= {tokens:,} tokens: {whole} of {need.answers} answers of {need.context:,} tokens"
        )


def share_gpu(
    device: Device, others: Sequence[tuple[str, int]], needs: Sequence[Need]
) -> list[Ration]:
    """Divide a GPU: first what is given or fixed, then the rest in equal parts."""
    room = math.floor(device.total * (1 - KEPT_FREE)) - device.used - sum(b for _, b in others)
    given = {need.engine: math.floor(need.share * device.total) for need in needs if need.share}
    for need in needs:
        if need.engine in given and given[need.engine] < need.least:
            raise _too_small(device, given[need.engine], [need], others)
    rest = room - sum(given.get(need.engine, need.least) for need in needs)
    if rest < 0:
        raise _too_small(device, room, needs, others)
    open_ended = [need for need in needs if need.engine not in given]
    for left, need in enumerate(sorted(open_ended, key=lambda n: n.most - n.least)):
        more = min(rest // (len(open_ended) - left), need.most - need.least)
        given[need.engine] = need.least + more
        rest -= more
    return [_ration(need, given[need.engine], device) for need in needs]


def share_host(
    device: Device, others: Sequence[tuple[str, int]], needs: Sequence[Need], cache_gib: int
) -> list[Ration]:
    """Divide a CPU host's memory; the KV cache comes in whole GiB, as vLLM takes it there."""
    room = device.total - device.used - sum(b for _, b in others)
    rest = room - sum(need.fixed for need in needs)
    caches = [cache_gib * GIB or _host_cache(need, rest // 4) for need in needs]
    for need, cache in zip(needs, caches, strict=True):
        if cache < need.token * need.context:
            least = math.ceil(need.token * need.context / GIB)
            raise DoesNotFit(
                f"{need.engine}: {cache // GIB} GiB of KV cache do not hold one answer of "
                f"{need.context:,} tokens",
                f"Set DSLM_CPU_CACHE_GIB to {least}, or lower DSLM_MAX_MODEL_LEN",
            )
    if rest < sum(caches):
        raise _too_small(device, room, needs, others)
    rations = zip(needs, caches, strict=True)
    return [Ration(need, (need.fixed + cache) / device.total, cache) for need, cache in rations]


def gib(size: int) -> str:
    """For people: two digits that count, or so."""
    value = size / GIB
    if value < 0.1:
        return f"{size / 2**20:.0f} MiB"
    return f"{value:.0f} GiB" if value >= 100 else f"{value:.1f} GiB"


def told(device: Device, others: Sequence[tuple[str, int]], rations: Sequence[Ration]) -> list[str]:
    """The plan as it is printed at a start."""
    used = [("in use by others", device.used)] if device.used >= GIB // 10 else []
    lines = [f"{device.name}: {gib(device.total)}"]
    lines += [f"  {gib(size)}  {label}" for label, size in [*used, *others]]
    return [*lines, *(f"  {ration}" for ration in rations)]


def _host_cache(need: Need, most: int) -> int:
    """Enough for a few long answers, if that is no more than a quarter of what is free."""
    one = math.ceil(need.token * need.context / GIB)
    few = math.ceil(need.token * need.context * min(CPU_ANSWERS, need.answers) / GIB)
    return max(1, one, min(few, most // GIB)) * GIB


def _ration(need: Need, given: int, device: Device) -> Ration:
    share = math.floor(given / device.total * 1000) / 1000
    return Ration(need, share, given - need.fixed)


def _too_small(
    device: Device, room: int, needs: Sequence[Need], others: Sequence[tuple[str, int]]
) -> DoesNotFit:
    """What takes how much, and what could be lowered."""
    parts = [
        f"{need.engine}: weights {gib(need.weights)} + LoRA slots {gib(need.slots)} + work "
        f"{gib(need.work)} + KV cache of one answer of {need.context:,} tokens "
        f"{gib(need.token * need.context)}"
        for need in needs
    ]
    used = [("others", device.used)] if device.used else []
    beside = ", ".join(f"{label} ({gib(size)})" for label, size in [*used, *others])
    spare = room - sum(need.fixed for need in needs)
    tokens = max(0, spare) // sum(need.token for need in needs)
    remedies = []
    if tokens >= 1024:
        remedies.append(f"lower DSLM_MAX_MODEL_LEN to {tokens // 256 * 256} or less")
    remedies.append("take a smaller or quantised base")
    if any(need.slots for need in needs):
        remedies.append("lower DSLM_MAX_LORAS or DSLM_MAX_LORA_RANK")
    if len(needs) > 1:
        remedies.append("give each engine a GPU of its own (`gpus`)")
    if any(need.share for need in needs):
        remedies.append("raise DSLM_GPU_MEMORY")
    remedy = ", ".join(remedies)
    return DoesNotFit(
        f"{device.name} has {gib(device.total)}, and {gib(max(0, room))} are left"
        + (f" beside {beside}" if beside else "")
        + f": too little for {'; '.join(parts)}",
        remedy[0].upper() + remedy[1:],
    )
