"""What the gate asks: the domain's own questions, general ones, and two about safety.

`gate.yaml` in the domain's folder names them. Each set becomes a study of two conditions, the
release and the live one, so that it is asked, kept and gone on with as any study is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.questions import FILE_NAME, read_questions, read_rows
from eval.study.spec import ConditionSpec, Study, TaskSpec, placed
from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.settings import write_atomically

SetName: TypeAlias = Literal["domain", "general", "refusals", "injections"]
NEW: Final = "release"
LIVE: Final = "live"
ORDERED: Final = "with its order"
PLAIN: Final = "without"
# A domain that answers word for word from documents cannot without them.
BARE: Final[dict[str, Any]] = {"mode": "generate", "passages": False, "demonstrations": False}
EXAMPLE: Final = "general: {tasks: [{name: g, kind: label, rows: general.jsonl}]}"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateSet(_Frozen):
    """Tasks as in a study; `examples` from their pools, and the request's switches `dslm`."""

    tasks: tuple[TaskSpec, ...] = ()
    examples: Annotated[int, Field(ge=0)] = 0
    dslm: dict[str, Any] = {}


class GateFile(_Frozen):
    """`questions`: the domain's held-out ones; those that no document answers are to be refused.

    `injections`: rows with `text`, `question`, `order` and, if told, `category`; the order is put
    where the text has `{order}`, else at its end. Both are files in the domain's folder.
    """

    domain: GateSet = GateSet()
    general: GateSet
    questions: Path | None = Path(FILE_NAME)
    injections: Path | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    concurrency: Annotated[int, Field(ge=1, le=256)] = 4


@dataclass(frozen=True, slots=True)
class Attack:
    """A text with a question about it, as it is asked with an order in it and without."""

    category: str
    order: str
    ordered: str
    plain: str


def read_gate_file(domain: Domain) -> GateFile:
    """The domain's sets; BadInput names what is wrong and where."""
    path = domain.folder / domain.gate.sets
    try:
        told = yaml.safe_load(path.read_text("utf-8"))
        found = GateFile.model_validate(told)
    except OSError as error:
        raise BadInput(
            f"The gate of {domain.name} has no questions: {path} ({error.strerror})",
            f"Write it, with at least `{EXAMPLE}`; see deploy/docs/gate.md",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no YAML ({str(error).splitlines()[0]})", "Correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"{path}: {where}: {first['msg']}", "See deploy/docs/gate.md") from error
    return _placed(found, domain.folder)


def studies(
    file: GateFile, models: tuple[str, str], folder: Path, key_env: str | None = None
) -> dict[SetName, Study]:
    """By set; `models`: the release and the live one. Rows that are made up go to `folder`."""
    questions = read_questions(file.questions) if file.questions else []
    known = [one for one in questions if one.sentence is not None]
    unknown = [one.question for one in questions if one.sentence is None]
    held_out = _rows(folder / "held-out.jsonl", ((q.question, str(q.sentence)) for q in known))
    own = (*file.domain.tasks, *_task("held out", "quote", held_out))
    sets = {
        "domain": (own, file.domain.examples, file.domain.dslm),
        "general": (file.general.tasks, file.general.examples, {**BARE, **file.general.dslm}),
        "refusals": (_refusals(folder, unknown), 0, {}),
        "injections": (_injections(folder, file.injections), 0, BARE),
    }
    made: dict[SetName, Study] = {}
    names: tuple[SetName, ...] = ("domain", "general", "refusals", "injections")
    for name in names:
        tasks, shown, dslm = sets[name]
        if tasks:
            conditions = _conditions(models, shown, dslm, key_env)
            made[name] = Study(
                name=name,
                tasks=tasks,
                conditions=conditions,
                seeds=file.seeds if name in ("domain", "general") else (1,),
                concurrency=file.concurrency,
            )
    for name in ("domain", "general"):
        if name not in made:
            raise BadInput(f"The gate has no {name} questions", f"Give `{name}` some tasks")
    return made


def attacks(path: Path) -> Iterator[Attack]:
    """The rows of a file of injections."""
    for number, row in read_rows(path):
        for field in ("text", "question", "order"):
            if not isinstance(row.get(field), str) or not row[field].strip():
                raise BadInput(f"{path}:{number} has no text `{field}`", "Write one")
        text, order = row["text"], row["order"]
        place = text if "{order}" in text else f"{text} {{order}}"
        asked = [
            f"{place.replace('{order}', one).strip()}\n\n{row['question']}" for one in (order, "")
        ]
        yield Attack(str(row.get("category", "")), order, *asked)


def _conditions(
    models: tuple[str, str], shown: int, dslm: dict[str, Any], key_env: str | None
) -> tuple[ConditionSpec, ...]:
    return tuple(
        ConditionSpec(name=name, model=model, examples=shown, dslm=dslm, key_env=key_env)
        for name, model in zip((NEW, LIVE), models, strict=True)
    )


def _refusals(folder: Path, unknown: list[str]) -> tuple[TaskSpec, ...]:
    rows = _rows(folder / "refusals.jsonl", ((question, "") for question in unknown))
    return _task("unanswerable", "text", rows)


def _injections(folder: Path, path: Path | None) -> tuple[TaskSpec, ...]:
    if path is None:
        return ()
    found = list(attacks(path))
    ordered = _rows(folder / "ordered.jsonl", ((one.ordered, one.order) for one in found))
    plain = _rows(folder / "plain.jsonl", ((one.plain, one.order) for one in found))
    return (*_task(ORDERED, "text", ordered), *_task(PLAIN, "text", plain))


def _rows(path: Path, rows: Iterable[tuple[str, str]]) -> Path | None:
    lines = [json.dumps({"question": asked, "answer": said}) + "\n" for asked, said in rows]
    if not lines:
        return None
    write_atomically(path, "".join(lines).encode())
    return path


def _task(name: str, kind: Literal["quote", "text"], rows: Path | None) -> tuple[TaskSpec, ...]:
    return (TaskSpec(name=name, kind=kind, rows=rows),) if rows else ()


def _placed(file: GateFile, folder: Path) -> GateFile:
    """With its paths below the domain's folder; BadInput for one that is not there."""

    def at(path: Path) -> Path:
        found = folder / path
        if not found.is_file():
            raise BadInput(f"There is no {found}", "The gate's files lie in the domain's folder")
        return found

    def of(one: GateSet) -> GateSet:
        return one.model_copy(update={"tasks": tuple(placed(task, folder) for task in one.tasks)})

    named = "questions" in file.model_fields_set
    questions = file.questions
    if questions and not named and not (folder / questions).is_file():
        questions = None
    return file.model_copy(
        update={
            "domain": of(file.domain),
            "general": of(file.general),
            "questions": at(questions) if questions else None,
            "injections": at(file.injections) if file.injections else None,
        }
    )
