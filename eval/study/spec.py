"""What a study asks, of whom, and how: one YAML file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from indexer.errors import BadInput

Kind = Literal["number", "label", "quote", "text"]
Text = Annotated[str, Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSpec(_Frozen):
    """Questions with known answers. `kind` decides how an answer is read and scored.

    number: equal as numbers; label: one of those that the rows have; quote: the expected text
    stands in the answer; text: words in common (ROUGE-L). `pool` holds solved examples that
    conditions may show; `{question}` stands in `prompt` for a row's question.
    """

    name: Text
    kind: Kind
    rows: Path
    question: Text = "question"
    answer: Text = "answer"
    prompt: Annotated[str, Field(pattern=r"\{question\}")] = "{question}"
    pool: Path | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 256


class ConditionSpec(_Frozen):
    """Who is asked, and with what.

    `model` is a domain, a pinned release, or a base; `url` another endpoint, with the key that the
    environment has under `key_env`. `examples` are solved ones from the task's pool, shown as
    earlier turns: chosen by `choice`, the most similar last. `dslm` switches are sent as they are:
    `{passages: false, adapter: false}`.
    """

    name: Text
    model: Text
    url: str | None = None
    key_env: str | None = None
    examples: Annotated[int, Field(ge=0)] = 0
    choice: Literal["similar", "words", "random"] = "similar"
    dslm: dict[str, Any] = {}
    cost_in: Annotated[float, Field(ge=0)] = 0.0
    cost_out: Annotated[float, Field(ge=0)] = 0.0


class Study(_Frozen):
    """Every task under every condition; `seeds` repeat what is drawn, and show the noise floor.

    Costs are per million tokens. `digest` names everything that decides what is asked.
    """

    name: Text
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1)]
    conditions: Annotated[tuple[ConditionSpec, ...], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for what, names in (
            ("tasks", [task.name for task in self.tasks]),
            ("conditions", [condition.name for condition in self.conditions]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {what} are called {twice[0]!r}")
        return self

    @model_validator(mode="after")
    def _pools_are_there(self) -> Self:
        lacking = [task.name for task in self.tasks if task.pool is None]
        wanting = [one.name for one in self.conditions if one.examples]
        if lacking and wanting:
            raise ValueError(
                f"the condition {wanting[0]!r} shows examples, the task {lacking[0]!r} has no pool"
            )
        return self

    def digest(self) -> str:
        """Of the questions, their files and the conditions; how many at once does not count."""
        told = self.model_dump(mode="json", exclude={"concurrency"})
        files = [path for task in self.tasks for path in (task.rows, task.pool) if path]
        told["files"] = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        for task in told["tasks"]:
            task.pop("rows"), task.pop("pool")
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_study(path: Path) -> Study:
    """Read a study; its paths are relative to its file. BadInput names what is wrong."""
    try:
        told = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"Cannot read {path} ({error.strerror})", "Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"{path} is no YAML ({said})", "Correct it") from error
    try:
        study = Study.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the study"
        raise BadInput(f"{path}: {where}: {first['msg']}", "See deploy/docs/eval.md") from error
    return _placed(study, path.parent)


def _placed(study: Study, folder: Path) -> Study:
    tasks = [
        task.model_copy(
            update={
                "rows": _file(folder, task.rows),
                "pool": _file(folder, task.pool) if task.pool else None,
            }
        )
        for task in study.tasks
    ]
    return study.model_copy(update={"tasks": tuple(tasks)})


def _file(folder: Path, path: Path) -> Path:
    found = folder / path
    if not found.is_file():
        raise BadInput(f"There is no {found}", "Paths in a study are relative to its file")
    return found
