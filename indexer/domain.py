"""A domain: one field of knowledge, described by the `domain.toml` in its folder."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from indexer.errors import BadInput
from indexer.gate import GateSettings as GateSettings

FILE_NAME = "domain.toml"
RESERVED = "base"
_NAME_RULE = "^[a-z][a-z0-9-]{0,40}$"

Cosine: TypeAlias = Annotated[float, Field(ge=-1.0, le=1.0)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """Frozen and strict: an unknown key or a value of another type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EmbedderSettings(Settings):
    """Which embedding model, in which number format, and by which library it runs.

    `revision` is of a model from the hub; `int8` is for `onnx` and `openvino` only.
    """

    name: Text = "all-MiniLM-L6-v2"
    revision: Text | None = None
    dtype: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    backend: Literal["torch", "onnx", "openvino"] = "torch"


class FieldSettings(Settings):
    """Which keys of a JSON object (dots reach inside) or columns of a table play which part.

    Of `text` the first that is there is taken; what is not named becomes metadata.
    """

    id: list[Text] = ["id", "_id"]
    title: list[Text] = ["title", "name", "subject"]
    text: list[Text] = ["text", "content", "body"]


class LimitSettings(Settings):
    """What one file may take while it is read; beyond it is left out, with its reason."""

    file_mb: int = Field(default=64, ge=1)
    seconds: int = Field(default=60, ge=1)
    memory_mb: int = Field(default=1024, ge=64)
    expanded_mb: int = Field(default=512, ge=1)
    depth: int = Field(default=4, ge=1, le=16)


class DocumentSettings(Settings):
    """Folders or files, relative to the domain's folder; `passwords` is a file, one a line."""

    paths: list[Text] = Field(default=["documents"], min_length=1)
    passwords: Text | None = None
    fields: FieldSettings = FieldSettings()
    limits: LimitSettings = LimitSettings()


class DemonstrationSettings(Settings):
    """JSONL files, relative to the domain's folder; `embedder` where it is not the passages'."""

    paths: list[Text] = ["demonstrations.jsonl"]
    embedder: EmbedderSettings | None = None


class ChunkingSettings(Settings):
    """`tokens` by the embedding model's own count; `overlap` in sentences."""

    tokens: int = Field(default=96, ge=8, le=4096)
    overlap: int = Field(default=0, ge=0, le=8)


class DuplicateSettings(Settings):
    """Chunks alike are kept once, with all their places; `near` is a Jaccard similarity, 1 exact"""

    drop: bool = True
    near: float = Field(default=0.9, ge=0.5, le=1.0)


class MaskingSettings(Settings):
    """Kinds of personal data to replace in documents before anything else sees them."""

    kinds: list[Text] = []


class IndexSettings(Settings):
    """How vectors are kept; `auto` goes by their number. `recall` is of the ten nearest."""

    kind: Literal["auto", "flat", "fp16", "ivf-sq8", "ivf-rabitq"] = "auto"
    recall: float = Field(default=0.97, ge=0.5, le=1.0)


class SnapshotSettings(Settings):
    """How many snapshots to keep besides those that a release or a process uses."""

    keep: int = Field(default=3, ge=1)


class RetrievalSettings(Settings):
    """How passages and demonstrations are looked up; a release pins these.

    `mode`: by vector, by words (BM25) or by both, joined by `fusion`. Of `candidates` the best are
    chosen: by `rerank`, a cross-encoder's name; by `diversity` (MMR's 1 - lambda, 0 for none).
    `neighbours` chunks before and after a hit are joined to it. The scores are cosines, below
    which nothing counts as found. `history` is what of a conversation is looked up with its last
    question; by `rewrite` the engine is asked to say that question so that it stands alone.
    """

    mode: Literal["dense", "lexical", "hybrid"] = "dense"
    fusion: Literal["rrf", "minmax"] = "minmax"
    candidates: int = Field(default=50, ge=1, le=1000)
    rerank: Text | None = None
    diversity: float = Field(default=0.0, ge=0.0, le=1.0)
    neighbours: int = Field(default=0, ge=0, le=4)
    passages: int = Field(default=4, ge=0, le=32)
    demonstrations: int = Field(default=2, ge=0, le=32)
    min_passage_score: Cosine = 0.25
    min_quote_score: Cosine = 0.3
    min_demonstration_score: Cosine = 0.35
    history: Literal["none", "auto", "questions", "turns"] = "auto"
    rewrite: bool = False


class AnswerSettings(Settings):
    """How the domain answers; a release pins these."""

    mode: Literal["generate", "verbatim", "quote"] = "generate"
    prompt_format: Literal["sentences", "passages", "fenced"] = "sentences"
    system: str = ""
    refusal: Text = "The documents do not say."
    fallback: Literal["none", "quote"] = "none"
    max_tokens: int = Field(default=256, ge=1)


class Domain(Settings):
    """One field of knowledge. `folder` is where the TOML file lies, never written in it."""

    name: Annotated[str, Field(pattern=_NAME_RULE)]
    title: str = ""
    folder: Path = Field(exclude=True)
    documents: DocumentSettings = DocumentSettings()
    demonstrations: DemonstrationSettings = DemonstrationSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    masking: MaskingSettings = MaskingSettings()
    index: IndexSettings = IndexSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    answer: AnswerSettings = AnswerSettings()
    base: Text = RESERVED
    adapter: Text | None = None
    publish: Literal["live", "wait"] = "live"
    gate: GateSettings = GateSettings()

    @property
    def is_gated(self) -> bool:
        """Whether a release needs a passing report before it may answer; the table asks for it."""
        return "gate" in self.model_fields_set and self.gate.required

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == RESERVED:
            raise ValueError(f"'{RESERVED}' names the base itself")
        return name

    @classmethod
    def from_toml(cls, content: dict[str, Any], folder: Path) -> Self:
        """`name` may be left out: then it is the folder's, so that a copied folder works."""
        return cls.model_validate({"name": folder.name, **content, "folder": folder})


def load_domain(folder_or_toml: Path) -> Domain:
    """Read one domain. BadInput names the file, the key, the value and the remedy."""
    is_file = folder_or_toml.suffix == ".toml"
    file = folder_or_toml if is_file else folder_or_toml / FILE_NAME
    content = _read_toml(file)
    if "folder" in content:
        raise _unknown_key(file, ("folder",))
    try:
        return Domain.from_toml(content, file.parent.resolve())
    except ValidationError as error:
        raise _explain(file, error.errors()[0]) from error


def load_domains(root: Path) -> dict[str, Domain]:
    """Read every `<root>/<folder>/domain.toml`, by name and in order of name."""
    if not root.is_dir():
        raise BadInput(
            f"The domains folder {root} does not exist",
            f"Create it with one folder per domain, each holding a {FILE_NAME}",
        )
    found: dict[str, Domain] = {}
    for file in sorted(root.glob(f"*/{FILE_NAME}")):
        domain = load_domain(file)
        if domain.name in found:
            other = found[domain.name].folder / FILE_NAME
            raise BadInput(
                f"{file}: `name` = '{domain.name}' is also the name in {other}",
                "Give one of them another name, or delete the line: the folder's name is then used",
            )
        found[domain.name] = domain
    return dict(sorted(found.items()))


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(
            f"There is no {FILE_NAME} at {file}",
            "Name a domain's folder, or create the file with at least a title",
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"Cannot read {file}: {reason}", "Check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is not valid TOML: {error}", "Correct that line") from error


def _explain(file: Path, error: ErrorDetails) -> BadInput:
    location = tuple(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return _unknown_key(file, location)
    key, value = ".".join(location), error["input"]
    if location == ("name",):
        remedy = (
            "A name is a lower-case letter, then up to 40 letters, digits or hyphens,"
            f" and not '{RESERVED}'"
        )
    else:
        remedy = error["msg"].removeprefix("Value error, ")
    return BadInput(f"{file}: `{key}` = {value!r} is not allowed", remedy)


def _unknown_key(file: Path, location: tuple[str, ...]) -> BadInput:
    section: type[BaseModel] = Domain
    for part in location[:-1]:
        annotation = section.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        section = annotation
    valid = [name for name in section.model_fields if name != "folder"]
    near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    return BadInput(
        f"{file}: unknown key `{'.'.join(location)}`", f"{hint}Known here: {', '.join(valid)}"
    )
