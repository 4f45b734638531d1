"""Other programs that index documents, each in an environment of its own that is made here."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from eval.bench.indexing_child import DidNotRun, Took, run_child

_SCRIPTS = Path(__file__).resolve().parent / "peers"
_COMMON = ("torch==2.13.0", "faiss-cpu==1.15.1", "sentence-transformers==6.2.0")
_READY = ".ready"


@dataclass(frozen=True, slots=True)
class Peer:
    """`dtype`: whether its number format is one argument."""

    name: str
    packages: tuple[str, ...]
    dtype: bool = True


PEERS = (
    Peer("txtai", ("txtai==9.14.0", "chonkie"), dtype=False),
    Peer(
        "llamaindex",
        (
            "llama-index-core==0.14.25",
            "llama-index-embeddings-huggingface==0.8.0",
            "llama-index-vector-stores-faiss==0.7.0",
        ),
    ),
    Peer("haystack", ("haystack-ai==3.4.0", "faiss-haystack", "sentence-transformers-haystack")),
    Peer(
        "langchain",
        (
            "langchain-community==0.4.2",
            "langchain-huggingface==1.2.3",
            "langchain-text-splitters==1.1.3",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class PeerRun:
    """One run of it, in its number format `dtype`."""

    name: str
    dtype: str
    chunks: int
    took: Took


def environments() -> Path:
    """Where the environments are kept between runs of the bench."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dslm/peers"


def install(peer: Peer, root: Path) -> Path:
    """Its Python, once all is installed. DidNotRun: it cannot be, with the reason."""
    home = root / peer.name
    python = home / "bin" / "python"
    if (home / _READY).exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    run_child([sys.executable, "-m", "venv", str(home)], root)
    wanted = [*_COMMON, *peer.packages]
    run_child([str(python), "-m", "pip", "install", "--quiet", *wanted], root)
    (home / _READY).touch()
    return python


def run_peer(
    peer: Peer, python: Path, documents: Path, output: Path, embedder: str, tokens: int, dtype: str
) -> PeerRun:
    """Index `documents` into `output`; DidNotRun if it fails."""
    shutil.rmtree(output, ignore_errors=True)
    script = str(_SCRIPTS / f"{peer.name}_peer.py")
    arguments = [str(documents), str(output), embedder, str(tokens), dtype]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    took = run_child([str(python), script, *arguments], documents.parent, offline)
    last = (took.output.splitlines() or [""])[-1]
    if not last.isdigit():
        raise DidNotRun(f"{peer.name} printed no number of chunks: {last!r}")
    return PeerRun(peer.name, dtype, int(last), took)
