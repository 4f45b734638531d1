"""What was asked and answered, kept line by line: a run that is killed goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from eval.study.spec import Study
from indexer.errors import BadInput, StoreError
from indexer.settings import store_errors, write_atomically

_STUDY: Final = "study.json"
_ANSWERS: Final = "answers.jsonl"

Key: TypeAlias = tuple[str, str, int, str]


class Cited(BaseModel):
    """A marker of an answer, by its place there, and the words of a document that it leads to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    end: int
    quote: str


class Record(BaseModel):
    """One answer with everything that it takes to look at it again, or to score it anew.

    `parts` are scores besides the task's own, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    condition: str
    seed: int
    item: str
    messages: list[dict[str, str]]
    expected: str
    answer: str
    score: float
    found: str | None
    rule: str
    finish_reason: str | None
    tokens_in: int
    tokens_out: int
    seconds: float
    release: str | None = None
    parts: dict[str, float] = {}
    cited: list[Cited] = []
    refused: bool = False

    @property
    def key(self) -> Key:
        """Which question of the study this answers."""
        return self.task, self.condition, self.seed, self.item


class Results:
    """The folder of one study's run; it is appended to, and never rewritten."""

    def __init__(self, folder: Path, study: Study) -> None:
        self._folder = folder
        with store_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _claim(folder / _STUDY, study)
        self.records = {one.key: one for one in _read(folder / _ANSWERS)}

    def __enter__(self) -> Self:
        with store_errors(self._folder):
            self._file = (self._folder / _ANSWERS).open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Keep an answer; it is on its way to the disk when this returns."""
        with store_errors(self._folder):
            self._file.write(record.model_dump_json() + "\n")
            self._file.flush()
        self.records[record.key] = record

    def ordered(self) -> list[Record]:
        """Every answer, in an order that does not depend on when it came."""
        return [self.records[key] for key in sorted(self.records)]


def _claim(path: Path, study: Study) -> None:
    """A folder belongs to the study that began in it."""
    digest = study.digest()
    if path.is_file():
        found = json.loads(path.read_text("utf-8"))["digest"]
        if found != digest:
            raise BadInput(
                f"{path.parent} holds another study, or this one before it was changed",
                "Name another folder with --out",
            )
        return
    told = {"digest": digest, "study": study.model_dump(mode="json")}
    with store_errors(path):
        write_atomically(path, (json.dumps(told, indent=2) + "\n").encode())


def _read(path: Path) -> Iterator[Record]:
    """The answers so far. A last line that was cut by a kill is dropped, and asked again."""
    if not path.is_file():
        return
    with store_errors(path):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with path.open("rb+") as file:
                file.truncate(len(whole))
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            raise StoreError(
                f"{path}:{number} is damaged", "Delete that line; its question is asked again"
            ) from error
