"""What a study asks, of whom, and how: one YAML file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eval.study.presets import EXTRACTION, PRESETS, Format, Kind
from indexer.errors import BadInput

Text = Annotated[str, Field(min_length=1)]
_PATHS = ("rows", "pool", "ids", "labels", "classes")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BertScoreSpec(_Frozen):
    """BERTScore beside the words in common: a model's folder or hub id, and one of its layers.

    `baseline` is a table of bert-score (LAYER,P,R,F), without which only raw scores are told.
    """

    model: Text
    layer: Annotated[int, Field(ge=1)] | None = None
    idf: bool = False
    baseline: Path | None = None


class TaskSpec(_Frozen):
    """Questions with known answers, in their published `format` or as a team's own JSON lines.

    `kind` decides how an answer is read and scored. number: equal as numbers; label: one of a
    closed list, that of `labels` or those that the rows have; choice: the letter of the right one;
    quote: the expected text stands in the answer; span: words in common with it (SQuAD's F1); text:
    words in common in order (ROUGE-L). A format brings kind, prompt and length with it.

    `question`, `answer`, `context` name the fields of JSON lines; `where` and `ids` choose rows.
    `classes` maps a set's own classes to labels. In `prompt` stand `{question}`, `{context}`,
    `{choices}` and `{labels}`; `system` is said first. `pool` holds solved examples that conditions
    may show.
    """

    name: Text
    format: Format = "jsonl"
    kind: Kind
    rows: Path
    question: Text = "question"
    answer: Text = "answer"
    context: Text | None = None
    where: dict[str, str] = {}
    ids: Path | None = None
    labels: Path | None = None
    classes: Path | None = None
    aliases: dict[str, str] = {}
    prompt: Annotated[str, Field(pattern=r"\{question\}")] = "{question}"
    system: str | None = None
    pool: Path | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 256
    stop: tuple[Text, ...] = ()
    bertscore: BertScoreSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, told: Any) -> Any:
        preset = PRESETS.get(told.get("format", "")) if isinstance(told, dict) else None
        return {**preset.fields(), **told} if preset else told

    @model_validator(mode="after")
    def _scored_as_said(self) -> Self:
        if self.bertscore and self.kind != "text":
            raise ValueError(f"BERTScore is for the kind text, not {self.kind}")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything on disk that decides what is asked and how it is scored."""
        places = (self.rows, self.pool, self.ids, self.labels, self.classes)
        return tuple(place for place in places if place)


class ConditionSpec(_Frozen):
    """Who is asked, and with what.

    `model` is a domain, a pinned release, or a base; `url` another endpoint, with the key that the
    environment has under `key_env`. `examples` are solved ones from the task's pool, shown as
    earlier turns: chosen by `choice`, the most similar last. `dslm` switches are sent as they are:
    `{passages: false, adapter: false}`. `models` names one of its own for a seed, such as a release
    whose adapter was trained with it; `seeds` are those of the study that it is asked with.
    """

    name: Text
    model: Text
    models: dict[int, Text] = {}
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    url: str | None = None
    key_env: str | None = None
    examples: Annotated[int, Field(ge=0)] = 0
    choice: Literal["similar", "words", "random"] = "similar"
    dslm: dict[str, Any] = {}
    cost_in: Annotated[float, Field(ge=0)] = 0.0
    cost_out: Annotated[float, Field(ge=0)] = 0.0

    def model_of(self, seed: int) -> str:
        """Who is asked with this seed."""
        return self.models.get(seed, self.model)

    def is_asked(self, seed: int) -> bool:
        """Whether this condition repeats this seed of the study."""
        return self.seeds is None or seed in self.seeds


class Study(_Frozen):
    """Every task under every condition; `seeds` repeat what is drawn, and show the noise floor.

    Costs are per million tokens. `general` names tasks that show what was forgotten, `baseline` the
    condition that others are drawn against, the first where it is not given. `digest` names
    everything that decides what is asked.
    """

    name: Text
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1)]
    conditions: Annotated[tuple[ConditionSpec, ...], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    general: tuple[Text, ...] = ()
    baseline: Text | None = None

    @property
    def against(self) -> str:
        """The condition that others are drawn against."""
        return self.baseline or self.conditions[0].name

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
    def _what_is_named_is_there(self) -> Self:
        tasks = {task.name for task in self.tasks}
        if odd := sorted(set(self.general) - tasks):
            raise ValueError(f"`general` names {odd[0]!r}, which is no task here")
        if self.baseline and self.baseline not in {one.name for one in self.conditions}:
            raise ValueError(f"`baseline` is {self.baseline!r}, which is no condition here")
        return self

    @model_validator(mode="after")
    def _seeds_are_there(self) -> Self:
        for one in self.conditions:
            odd = sorted({*(one.seeds or ()), *one.models} - set(self.seeds))
            if odd:
                raise ValueError(f"the condition {one.name!r} names a seed {odd[0]} of none here")
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
        told = self.model_dump(mode="json", exclude={"concurrency", "general", "baseline"})
        told["files"] = [file_digest(path) for task in self.tasks for path in task.files]
        for one in told["conditions"]:
            for name in ("models", "seeds"):
                if not one[name]:
                    del one[name]
        for task in told["tasks"]:
            for name in _PATHS:
                task.pop(name)
            task["extraction"] = EXTRACTION[task["kind"]]
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
    return study.model_copy(update={"tasks": tuple(placed(task, folder) for task in study.tasks)})


def placed(task: TaskSpec, folder: Path) -> TaskSpec:
    """The task with its paths as they lie; BadInput names one that is not there."""
    told = {name: getattr(task, name) for name in _PATHS}
    found: dict[str, Any] = {name: _file(folder, path) for name, path in told.items() if path}
    if task.bertscore and task.bertscore.baseline:
        table = _file(folder, task.bertscore.baseline)
        found["bertscore"] = task.bertscore.model_copy(update={"baseline": table})
    return task.model_copy(update=found)


def file_digest(path: Path) -> str:
    """Of a file's bytes, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _file(folder: Path, path: Path) -> Path:
    found = folder / path
    if not found.exists():
        raise BadInput(f"There is no {found}", "Paths in a study are relative to its file")
    return found
