"""What this machine has for engines, and what else of the service shares it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from adapters.errors import BaseRefused
from adapters.release import ReleaseStore
from indexer.domain import Domain, EmbedderSettings
from indexer.embedding.weights import locate
from indexer.errors import DslmError
from indexer.index import gpu as faiss_gpu
from indexer.settings import Paths
from indexer.store.manifest import read_manifest
from service.engines.memory import CUDA_BYTES, GIB, weight_bytes
from service.engines.plan import Device

MIB = 2**20
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Of an embedding model whose files are not here yet: a base-sized one in fp32.
UNSEEN_BYTES = GIB // 2
# Batches of questions and passages while they are embedded.
BATCH_BYTES = GIB // 2
FAISS_BYTES = 128 * MIB
# Python, torch and the libraries of this process.
SERVICE_BYTES = GIB

Taken = list[tuple[str, int]]


def gpus() -> Mapping[str, Device]:
    """Every GPU by its index, as nvidia-smi tells; empty without one."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["--query-gpu=index,name,memory.total,memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, check=False)
    return dict(read_gpus(said.stdout)) if said.returncode == 0 else {}


def read_gpus(said: str) -> Iterator[tuple[str, Device]]:
    """Lines `index, name, total MiB, used MiB`."""
    for line in said.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4 and cells[2].isdecimal() and cells[3].isdecimal():
            name = f"GPU {cells[0]} ({cells[1]})"
            yield cells[0], Device(name, int(cells[2]) * MIB, int(cells[3]) * MIB)


def first_gpu(visible: str | None) -> str:
    """The index of the first that a process may see; a child's `gpu` goes before our own."""
    chosen = visible or os.environ.get("CUDA_VISIBLE_DEVICES") or "0"
    return chosen.split(",")[0].strip()


def host() -> Device:
    """This machine's memory, or what a container may have of it; what is in use now may go."""
    total = psutil.virtual_memory().total
    for file in map(Path, CGROUP_LIMITS):
        limit = file.read_text(encoding="ascii").strip() if file.is_file() else "max"
        if limit.isdecimal():
            total = min(total, int(limit))
    return Device("this machine's memory", total)


def free_memory() -> int:
    """Of this machine, now."""
    return int(psutil.virtual_memory().available)


def neighbours(domains: Mapping[str, Domain], store: Path, *, on_gpu: bool) -> Taken:
    """What the service itself will hold there, from what its domains name."""
    taken: Taken = [("the service", CUDA_BYTES // 2 if on_gpu else SERVICE_BYTES)]
    for name in sorted(_models(domains, on_gpu)):
        taken.append((name, _embedder_bytes(name, on_gpu) + BATCH_BYTES))
    indexes = sum(_index_bytes(domain, Paths(store), on_gpu) for domain in domains.values())
    return [*taken, ("indexes", indexes)] if indexes else taken


def _models(domains: Mapping[str, Domain], on_gpu: bool) -> set[str]:
    """Embedding models and cross-encoders, each once; only torch's run on a GPU."""
    names = set()
    for domain in domains.values():
        own: list[EmbedderSettings | None] = [domain.embedder, domain.demonstrations.embedder]
        names |= {one.name for one in own if one and (one.backend == "torch" or not on_gpu)}
        names |= {domain.retrieval.rerank} if domain.retrieval.rerank else set()
    return names


def _embedder_bytes(name: str, on_gpu: bool) -> int:
    folder = Path(locate(name))
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(locate(name), "config.json")
        folder = Path(found).parent if isinstance(found, str) else folder
    try:
        return weight_bytes(folder, 2 if on_gpu else 4) or UNSEEN_BYTES
    except (OSError, ValueError, BaseRefused):
        return UNSEEN_BYTES


def _index_bytes(domain: Domain, paths: Paths, on_gpu: bool) -> int:
    """Of the live release's vectors; on a GPU only those that are searched there."""
    try:
        live = ReleaseStore(paths).live(domain.name)
        if live is None:
            return 0
        _, manifest = read_manifest(paths.snapshot(domain.name, live.snapshot))
    except DslmError:  # whoever opens it will say what is wrong
        return 0
    passages = manifest.files.get("passages.faiss")
    size = passages.bytes if passages else 0
    if not on_gpu:
        return size
    is_there = faiss_gpu.searches(manifest.passages_index, manifest.chunks, faiss_gpu.count())
    return size + FAISS_BYTES if is_there else 0
