"""What engines there are: the file `engines.toml`, and the settings where it says nothing.

The settings describe the base called `base`. The file describes others, or that one instead.
"""

import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from indexer.domain import RESERVED, Domain
from indexer.errors import BadInput
from service.settings import ServiceSettings

BASE_NAME = RESERVED
Text = Annotated[str, Field(min_length=1)]


class EngineEntry(BaseModel):
    """One base and the engines that serve it; without `base` an external model, by its API.

    `gpus`: one child for each, as CUDA_VISIBLE_DEVICES writes them. `model`: what the engines call
    the base. `key`: the environment variable that holds their API key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,40}$")]
    base: Text | None = None
    urls: tuple[Text, ...] = ()
    options: str = ""
    gpus: tuple[Text, ...] = ()
    model: Text | None = None
    key: Text | None = None
    context: Annotated[int, Field(ge=16)] | None = None
    bytes_per_token: Annotated[float, Field(ge=1)] = 1.0
    limit_field: Annotated[str, Field(pattern="^max_(completion_)?tokens$")] = (
        "max_completion_tokens"
    )

    @property
    def external(self) -> bool:
        """A model that others run: no adapters, no tokenizer, nothing but OpenAI's own API."""
        return self.base is None

    @property
    def called(self) -> str:
        """What the engines call the base."""
        return self.model or BASE_NAME

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"'{url}' is no http(s) address")
            if "@" in parts.netloc:
                raise ValueError("an address may hold no password: name a variable as `key`")
        if len(set(urls)) < len(urls):
            raise ValueError("an address stands there twice")
        return tuple(url.rstrip("/").removesuffix("/v1") for url in urls)

    @field_validator("options")
    @classmethod
    def _quoted(cls, options: str) -> str:
        shlex.split(options)
        return options

    @model_validator(mode="after")
    def _consistent(self) -> "EngineEntry":
        if self.external and not (self.urls and self.model and self.context):
            raise ValueError("without `base` it needs `urls`, `model` and `context`")
        if self.urls and (self.options or self.gpus):
            raise ValueError("`options` and `gpus` are for engines that the service starts")
        if not self.urls and (self.model or self.key):
            raise ValueError("`model` and `key` are for engines at `urls`")
        return self


def read_entries(settings: ServiceSettings) -> dict[str, EngineEntry]:
    """Every base by its name, `base` first. BadInput names the file, the key and the remedy."""
    written = _read_file(settings.engines) if settings.engines else {}
    own = written.get(BASE_NAME) or _from_settings(settings)
    return {BASE_NAME: own, **written}


def entry_of(settings: ServiceSettings, domain: Domain) -> EngineEntry:
    """Who answers for a domain. BadInput if its file names a base that is not served."""
    entries = read_entries(settings)
    check_bases(entries, {domain.name: domain})
    return entries[domain.base]


def check_bases(entries: Mapping[str, EngineEntry], domains: Mapping[str, Domain]) -> None:
    """BadInput for a domain that asks for a base that is not there, or cannot do what it wants."""
    for name, domain in domains.items():
        if name in entries:
            raise BadInput(f"'{name}' names a domain and a base", "Rename one of the two")
        entry = entries.get(domain.base)
        if entry is None:
            known = ", ".join(entries)
            raise BadInput(
                f"{name}: `base` = '{domain.base}' is no base that is served",
                f"Name one of: {known}; DSLM_ENGINES names the file that describes others",
            )
        if entry.external and domain.answer.mode == "verbatim":
            raise BadInput(
                f"{name}: the mode `verbatim` cannot be kept by the external `{entry.name}`",
                "Set answer.mode to generate or quote, or name a base that vLLM serves",
            )


def _from_settings(settings: ServiceSettings) -> EngineEntry:
    try:
        return EngineEntry(
            name=BASE_NAME,
            base=settings.base,
            urls=tuple(settings.engine_urls.split()),
            options="" if settings.engine_urls else settings.engine_arguments,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = {"urls": "DSLM_ENGINE_URLS", "options": "DSLM_ENGINE_ARGUMENTS"}
        key = str(first["loc"][0]) if first["loc"] else "base"
        raise BadInput(f"{name.get(key, 'DSLM_BASE')}: {_reason(first)}", "Correct it") from error


def _read_file(file: Path) -> dict[str, EngineEntry]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"Cannot read {file}: {error.strerror}", "Set DSLM_ENGINES") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is not valid TOML: {error}", "Correct that line") from error
    tables = content.pop("engine", [])
    if content or not isinstance(tables, list):
        unknown = ", ".join(content) or "engine"
        raise BadInput(f"{file}: `{unknown}` is not known", "Write tables [[engine]] only")
    entries: dict[str, EngineEntry] = {}
    for number, table in enumerate(tables, 1):
        entry = _entry(file, number, table)
        if entry.name in entries:
            raise BadInput(f"{file}: two engines are called '{entry.name}'", "Rename one")
        entries[entry.name] = entry
    return entries


def _entry(file: Path, number: int, table: Any) -> EngineEntry:
    try:
        entry = EngineEntry.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"[[engine]] {number}"
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            where = f"engine '{table['name']}'"
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(EngineEntry.model_fields)
        remedy = f"Known: {known}" if first["type"] == "extra_forbidden" else "Correct it"
        told = f"`{key}`: {_reason(first)}" if key else _reason(first)
        raise BadInput(f"{file}: {where}: {told}", remedy) from error
    beside = file.parent / (entry.base or "")  # a folder is looked for beside the file first
    return entry.model_copy(update={"base": str(beside)}) if _is_base(entry, beside) else entry


def _is_base(entry: EngineEntry, folder: Path) -> bool:
    return entry.base is not None and (folder / "config.json").is_file()


def _reason(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
