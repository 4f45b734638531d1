"""The plan of a start: which engines go where, and what memory each of them gets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from indexer.domain import Domain
from service.engines.bases import ServedBase
from service.engines.command import cpu_dtype, is_cpu_build, slot_rank
from service.engines.machine import Taken, first_gpu, free_memory, gpus, host, neighbours
from service.engines.memory import (
    CUDA_BYTES,
    HOST_BYTES,
    LARGE_GPU,
    read_numbers,
    read_options,
    slot_bytes,
    token_bytes,
    work_bytes,
)
from service.engines.plan import Device, Need, Ration, gib, share_gpu, share_host, told
from service.settings import ServiceSettings

# Of the memory of a GPU of which nothing can be learned.
UNSEEN_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Place:
    """One child to start: its name, and what GPU it may see."""

    unit: str
    gpu: str | None
    base: ServedBase


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """`lines` are for whoever starts the service; `rations` by the engine's name."""

    lines: tuple[str, ...] = ()
    rations: Mapping[str, Ration] = field(default_factory=dict)

    def share(self, unit: str, settings: ServiceSettings) -> float:
        """Of its GPU's memory."""
        ration = self.rations.get(unit)
        return ration.share if ration else settings.gpu_memory or UNSEEN_SHARE

    def cache_gib(self, unit: str) -> int:
        """KV cache on a CPU host."""
        ration = self.rations.get(unit)
        return ration.cache // 2**30 if ration else 1


def places(bases: Mapping[str, ServedBase]) -> Iterator[Place]:
    """The children that are to be started: one for each base, or for each of its `gpus`."""
    for base in bases.values():
        if base.profile is None or base.entry.urls:
            continue
        if not base.entry.gpus:
            yield Place(base.name, None, base)
        for gpu in base.entry.gpus:
            yield Place(f"{base.name}.{gpu}", gpu, base)


def plan_memory(
    bases: Mapping[str, ServedBase], settings: ServiceSettings, domains: Mapping[str, Domain]
) -> MemoryPlan:
    """DoesNotFit says what is too large, and what to lower."""
    children = list(places(bases))
    if not children:
        return MemoryPlan(("no engine is started here",))
    if is_cpu_build():
        return _on_host(children, settings, domains)
    found = gpus()
    lines: list[str] = []
    rations: dict[str, Ration] = {}
    for index in dict.fromkeys(first_gpu(child.gpu) for child in children):
        here = [child for child in children if first_gpu(child.gpu) == index]
        device = found.get(index)
        if device is None:
            names = ", ".join(child.unit for child in here)
            lines.append(f"GPU {index} is unknown to nvidia-smi: nothing is planned for {names}")
            continue
        others: Taken = []
        if index == first_gpu(None):
            others = neighbours(domains, settings.store, on_gpu=True)
        made = share_gpu(device, others, [need_of(child, settings, device) for child in here])
        rations |= {ration.need.engine: ration for ration in made}
        lines += [*told(device, others, made), *map(_flag, made)]
    return MemoryPlan(tuple(lines), rations)


def need_of(child: Place, settings: ServiceSettings, device: Device | None) -> Need:
    """What one child takes; without a device on a CPU host."""
    base = child.base
    assert base.profile is not None
    options = read_options(base.entry.options)
    dtype = options.dtype or ("auto" if device else cpu_dtype())
    size = 4 if dtype in ("float", "float32") else 2
    numbers = read_numbers(base.profile, size)
    large = device is not None and device.total >= LARGE_GPU
    answers = options.answers or (1024 if large else 256 if device else 128)
    batched = options.batched or usual_batch(device)
    parts = options.gpus
    slot = slot_bytes(numbers.matrices, slot_rank(settings.max_lora_rank), size)
    return Need(
        engine=child.unit,
        weights=numbers.weights // parts,
        # On a CPU host what is registered and what is in use lie in the same memory.
        slots=slot * (settings.max_loras + (0 if device else settings.max_cpu_loras)),
        work=work_bytes(numbers, batched, answers) + (CUDA_BYTES if device else HOST_BYTES),
        token=max(1, token_bytes(numbers, options.kv_size or size) // parts),
        context=base.context,
        answers=answers,
        share=options.share or settings.gpu_memory or None,
    )


def usual_batch(device: Device | None) -> int:
    """Tokens that vLLM computes in one step unless it is told otherwise."""
    return 8192 if device is not None and device.total >= LARGE_GPU else 2048


def _on_host(
    children: Sequence[Place], settings: ServiceSettings, domains: Mapping[str, Domain]
) -> MemoryPlan:
    device = host()
    others = neighbours(domains, settings.store, on_gpu=False)
    needs = [need_of(child, settings, None) for child in children]
    rations = share_host(device, others, needs, settings.cpu_cache_gib)
    caches = [
        f"  {ration.need.engine}: VLLM_CPU_KVCACHE_SPACE={ration.cache // 2**30}"
        for ration in rations
    ]
    lines = (*told(device, others, rations), *_warning(others, rations), *caches)
    return MemoryPlan(lines, {ration.need.engine: ration for ration in rations})


def _warning(others: Taken, rations: Sequence[Ration]) -> Iterator[str]:
    """Others may leave before it is needed; if they do not, the system ends somebody."""
    wanted = sum(b for _, b in others) + sum(one.need.fixed + one.cache for one in rations)
    if (free := free_memory()) < wanted:
        yield f"  warning: {gib(wanted)} are planned, and {gib(free)} are free now"


def _flag(ration: Ration) -> str:
    return f"  {ration.need.engine}: --gpu-memory-utilization {ration.share:.3f}"
