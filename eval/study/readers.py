"""Rows of published test sets to items, each set in the form in which its makers give it out.

Nothing of them is bundled. Where the form is found, licences and the rest stand in
deploy/docs/tasks.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from eval.study.rows import Placed, read_classes, read_ids, read_rows, text_of
from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.study.spec import TaskSpec

LETTERS: Final = "ABCDEFGHIJ"
_CALCULATED: Final = re.compile(r"<<[^<>]*>>")
_MMLU: Final = ("question", "A", "B", "C", "D", "answer")
_BANKING: Final = ("text", "category")


@dataclass(frozen=True, slots=True)
class Item:
    """One question with the answer that is expected; `others` would be right as well.

    `choices` are what a multiple choice offers; its answer is a letter.
    """

    id: str
    question: str
    answer: str
    context: str = ""
    choices: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


Reader = Callable[[Path, "TaskSpec"], Iterator[Item]]


def item(
    question: str,
    answer: str,
    *,
    context: str = "",
    choices: Sequence[str] = (),
    others: Sequence[str] = (),
) -> Item:
    """Named by what it asks and expects, so that the same question is the same item anywhere."""
    told = [question, answer, *([context] if context else []), *choices]
    name = hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]
    return Item(name, question, answer, context, tuple(choices), tuple(others))


def read_items(path: Path, spec: TaskSpec) -> list[Item]:
    """A file's items, as often as they stand there. BadInput names what cannot be read."""
    found = list(READERS[spec.format](path, spec))
    if not found:
        raise BadInput(f"{path} has no rows that `where` and `classes` leave", "Correct them")
    return found


def _chosen(path: Path, spec: TaskSpec, columns: tuple[str, ...] = ()) -> Iterator[Placed]:
    """The rows that the task wants: by the values of their fields, and by their ids."""
    ids = read_ids(spec.ids) if spec.ids else None
    for place, row in read_rows(path, columns):
        named = {str(row.get(name)) for name in ("id", "pmid", "pubid", "qid")}
        if ids is not None and not named & ids:
            continue
        if all(str(row.get(name)) == value for name, value in spec.where.items()):
            yield place, row


def _jsonl(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """A team's own rows: the task names their fields."""
    for placed in _chosen(path, spec):
        context = text_of(placed, spec.context) if spec.context else ""
        if spec.kind == "choice":
            yield _choice(placed, text_of(placed, spec.question), context)
            continue
        answers = _answers(placed, spec.answer)
        question = text_of(placed, spec.question)
        yield item(question, answers[0], context=context, others=answers[1:])


def _answers(placed: Placed, name: str) -> list[str]:
    """A text, or a list of texts that are all right."""
    value = placed[1].get(name)
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return value
    return [text_of(placed, name)]


def _gsm8k(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """grade-school-math's lines; the marks of its calculator are left out."""
    for placed in _chosen(path, spec):
        yield item(text_of(placed, "question"), _CALCULATED.sub("", text_of(placed, "answer")))


def _healthcaremagic(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """ChatDoctor's list of instruction, input and output."""
    for placed in _chosen(path, spec):
        yield item(text_of(placed, "input").strip(), text_of(placed, "output").strip())


def _beeradvocate(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """SNAP's blocks, or a table or lines with the same names; styles by the task's `classes`."""
    classes = read_classes(spec.classes) if spec.classes else None
    for placed in _chosen(path, spec):
        style = text_of(placed, "beer/style", "beer_style", "style")
        label: str | None = style
        if classes is not None:
            if style not in classes:
                raise BadInput(
                    f"{placed[0]}: {spec.classes} does not name the style {style!r}",
                    "Map it to a class, or to null to leave such rows out",
                )
            label = classes[style]
        if label is not None:
            yield item(text_of(placed, "review/text", "review_text", "text"), label)


def _banking77(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """PolyAI's table of text and category, or lines of text and label."""
    for placed in _chosen(path, spec, _BANKING):
        yield item(text_of(placed, "text"), text_of(placed, "category", "label"))


def _pubmedqa(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """The original objects by PubMed id, or lines; the abstract without its conclusion."""
    for placed in _chosen(path, spec):
        row = placed[1]
        told = row.get("CONTEXTS", row.get("contexts", row.get("context")))
        told = told.get("contexts") if isinstance(told, Mapping) else told
        if not isinstance(told, list):
            raise BadInput(f"{placed[0]} has no list `CONTEXTS`", "Give ori_pqal.json")
        yield item(
            text_of(placed, "QUESTION", "question"),
            text_of(placed, "final_decision"),
            context="\n".join(map(str, told)),
        )


def _multiple_choice(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """MedQA's, MedMCQA's and MMLU's rows."""
    for placed in _chosen(path, spec, _MMLU):
        yield _choice(placed, text_of(placed, "question"), "")


def _choice(placed: Placed, question: str, context: str) -> Item:
    place, row = placed
    options = _options(row)
    right = next((row[name] for name in ("answer_idx", "cop", "answer") if name in row), None)
    at = _place(right, options, counts_from=1 if "cop" in row and "answer_idx" not in row else 0)
    if not 2 <= len(options) <= len(LETTERS) or at is None:
        raise BadInput(
            f"{place} has {len(options)} choices, and the answer {right!r:.60}",
            "Give `choices` (a list) or `options` (by letter), and `answer`: place, letter or text",
        )
    return item(question, LETTERS[at], context=context, choices=options)


def _options(row: Mapping[str, Any]) -> list[str]:
    listed = row.get("choices", row.get("options"))
    if isinstance(listed, Mapping):
        return [str(listed[name]) for name in sorted(listed)]
    if isinstance(listed, list):
        return [str(one) for one in listed]
    names = ("opa", "opb", "opc", "opd") if "opa" in row else ("A", "B", "C", "D")
    return [str(row[name]) for name in names if name in row]


def _place(right: Any, options: Sequence[str], *, counts_from: int) -> int | None:
    """A number counts; a letter names; else it is the text of one of them."""
    if isinstance(right, int) and not isinstance(right, bool):
        at = right - counts_from
    elif isinstance(right, str) and len(right) == 1 and right in LETTERS:
        at = LETTERS.index(right)
    else:
        at = options.index(right) if right in options else -1
    return at if 0 <= at < len(options) else None


def _squad(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """SQuAD's articles (1.1, 2.0, XQuAD), or a line for each question with its context."""
    for placed in _chosen(path, spec):
        for context, asked in _asked(placed):
            told = asked.get("answers")
            texts = told.get("text", []) if isinstance(told, Mapping) else _texts(told)
            answers = list(dict.fromkeys(texts)) or [""]
            question = text_of((placed[0], asked), "question")
            yield item(question, answers[0], context=context, others=answers[1:])


def _asked(placed: Placed) -> Iterator[tuple[str, Mapping[str, Any]]]:
    row = placed[1]
    if "paragraphs" not in row:
        yield text_of(placed, "context"), row
        return
    for paragraph in row["paragraphs"]:
        context = text_of((placed[0], paragraph), "context")
        for asked in paragraph.get("qas", ()):
            yield context, asked


def _texts(answers: Any) -> Iterable[str]:
    return (str(one["text"]) for one in answers or ())


def _medquad(path: Path, spec: TaskSpec) -> Iterator[Item]:
    """The folder of XML files, or lines of question and answer; without answer: left out there."""
    if not path.is_dir():
        for placed in _chosen(path, spec):
            yield item(text_of(placed, "question"), text_of(placed, "answer").strip())
        return
    for file in sorted(path.rglob("*.xml")):
        try:
            root = ElementTree.fromstring(file.read_bytes())
        except ElementTree.ParseError as error:
            raise BadInput(f"{file} is no XML ({error})", "Give MedQuAD's own files") from error
        for pair in root.iter("QAPair"):
            asked, told = pair.findtext("Question"), pair.findtext("Answer")
            if asked and told and told.strip():  # a third have none, for their owners' rights
                yield item(asked.strip(), told.strip())


READERS: Final[Mapping[str, Reader]] = {
    "jsonl": _jsonl,
    "gsm8k": _gsm8k,
    "healthcaremagic": _healthcaremagic,
    "beeradvocate": _beeradvocate,
    "banking77": _banking77,
    "pubmedqa": _pubmedqa,
    "multiple_choice": _multiple_choice,
    "squad": _squad,
    "medquad": _medquad,
}
