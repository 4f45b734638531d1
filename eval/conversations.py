"""What of a conversation to look up with its last question, measured on conversations.

`conversations.jsonl` beside a domain.toml holds them: `turns` of user and assistant by turns, the
last the user's; the `document` and `sentence` that answer it; and the `kind` of the last question:
`need` it the turn before, or one `far` back, is it understood `alone`, does it `switch` the topic.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from adapters.lookup import Lookup
from eval.questions import Question as Asked
from eval.questions import read_rows
from eval.report import Grid
from eval.retrieval_metrics import reciprocal_rank
from eval.stats import Share, mcnemar
from eval.tune_cases import Case, collapse
from indexer.errors import BadInput

if TYPE_CHECKING:
    from indexer.records import Vectors
    from indexer.search.conversation import Turn

FILE_NAME = "conversations.jsonl"
KINDS = ("need", "far", "alone", "switch")
FIELDS = ("id", "kind", "turns", "document", "sentence")
HEAD = ("way", "recall@k (95 %)", "MRR", *KINDS, "p", "not refused: others' questions (95 %)")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Its turns, and what the last of them asks for."""

    id: str
    kind: str
    turns: "tuple[Turn, ...]"
    case: Case


@dataclass(frozen=True, slots=True)
class Way:
    """How conversations are looked up: texts, whose unit vectors are added by weight."""

    name: str
    text: str
    weighted: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one way did: for every conversation, and for every question that has no answer here."""

    kinds: tuple[str, ...]
    ranks: tuple[float, ...]
    kept: tuple[bool, ...]

    @property
    def found(self) -> list[bool]:
        return [rank > 0 for rank in self.ranks]

    def joined(self, other: "Outcome") -> "Outcome":
        return Outcome(self.kinds + other.kinds, self.ranks + other.ranks, self.kept + other.kept)


def read_conversations(file: Path) -> list[Conversation]:
    """The file's conversations. BadInput names the row that is not of this form."""
    return [_conversation(file, number, row) for number, row in read_rows(file)]


def ways(turns: "Sequence[Turn]") -> Iterator[Way]:
    """Every setting of `retrieval.history`, and two that it does not have."""
    from indexer.search.conversation import search_text

    for history in ("none", "auto", "questions", "turns"):
        text = search_text(turns, history)
        yield Way(history, text, ((1.0, text),))
    said = [text for role, text in turns if role == "user"]
    once = " ".join(said)
    yield Way("questions, last one once", once, ((1.0, once),))
    yield Way("mean of two vectors", once, ((1.0, said[-1]), (0.5, said[-2])))


def measure(
    lookup: Lookup, conversations: Sequence[Conversation], others: Sequence[Asked]
) -> dict[str, Outcome]:
    """By way. `others` are asked, without an answer in this domain, after its own questions."""
    tried = [list(ways(one.turns)) for one in conversations]
    strays = [list(ways(turns)) for turns in _after(conversations, others)]
    vectors = _vectors(lookup, [way for each in (*tried, *strays) for way in each])
    found: dict[str, Outcome] = {}
    for place, first in enumerate(tried[0]):
        found[first.name] = Outcome(
            tuple(one.kind for one in conversations),
            tuple(
                _rank(lookup, each[place], vectors, one.case)
                for each, one in zip(tried, conversations, strict=True)
            ),
            tuple(_is_kept(lookup, each[place], vectors) for each in strays),
        )
    return found


def grid(outcomes: Mapping[str, Outcome], title: str) -> Grid:
    """A row for each way; p: against the last question alone, paired (McNemar)."""
    alone = outcomes["none"]
    return Grid(title, HEAD, tuple(_row(name, one, alone) for name, one in outcomes.items()))


def _row(name: str, one: Outcome, alone: Outcome) -> tuple[str, ...]:
    pairs = list(zip(alone.found, one.found, strict=True))
    p = mcnemar(sum(new and not old for old, new in pairs), sum(old > new for old, new in pairs))
    kinds = []
    for kind in KINDS:
        share = Share.of(f for f, k in zip(one.found, one.kinds, strict=True) if k == kind)
        kinds.append(f"{share.hits}/{share.total}")
    return (
        name,
        str(Share.of(one.found)),
        f"{fmean(one.ranks):.3f}",
        *kinds,
        "-" if one is alone else f"{p:.3f}",
        str(Share.of(one.kept)),
    )


def _after(
    conversations: Sequence[Conversation], others: Sequence[Asked]
) -> "Iterator[tuple[Turn, ...]]":
    """Each of the others' questions where a conversation of this domain asked its own."""
    for number, asked in enumerate(others):
        turns = conversations[number % len(conversations)].turns
        yield (*turns[:-1], ("user", asked.question))


def _vectors(lookup: Lookup, tried: Sequence[Way]) -> "dict[str, Vectors]":
    texts = list(dict.fromkeys(text for way in tried for _, text in way.weighted))
    return dict(zip(texts, (one.vector for one in lookup.ask(texts)), strict=True))


def _rank(lookup: Lookup, way: Way, vectors: "Mapping[str, Vectors]", case: Case) -> float:
    return reciprocal_rank(
        [case.answered_by(text) for text in _passages(lookup, way, vectors, least=-1.0)]
    )


def _is_kept(lookup: Lookup, way: Way, vectors: "Mapping[str, Vectors]") -> bool:
    least = lookup.release.retrieval.min_passage_score
    return bool(_passages(lookup, way, vectors, least=least))


def _passages(
    lookup: Lookup, way: Way, vectors: "Mapping[str, Vectors]", least: float
) -> list[str]:
    from indexer.search.ranking import Question

    joint = np.sum([weight * vectors[text] for weight, text in way.weighted], axis=0)
    vector = (joint / np.linalg.norm(joint)).astype(np.float32)
    settings = lookup.release.retrieval.model_copy(update={"min_passage_score": least})
    hits = lookup.retriever.search(Question(way.text, vector), settings, scorer=lookup.scorer)
    return [hit.passage.text for hit in hits]


def _conversation(file: Path, number: int, row: Mapping[str, object]) -> Conversation:
    turns = row.get("turns")
    if set(row) != set(FIELDS) or row["kind"] not in KINDS:
        remedy = f"Each row has {', '.join(FIELDS)}; kind is one of {', '.join(KINDS)}"
        raise BadInput(f"{file}:{number} is no conversation", remedy)
    if not isinstance(turns, list) or len(turns) < 3 or len(turns) % 2 == 0:
        remedy = "Give question, answer, question, and so on; the last is a question"
        raise BadInput(f"{file}:{number} has no turns of user and assistant by turns", remedy)
    case = Case(str(turns[-1]), frozenset({collapse(str(row["sentence"]))}))
    told: list[Turn] = [
        ("assistant" if place % 2 else "user", str(text)) for place, text in enumerate(turns)
    ]
    return Conversation(str(row["id"]), str(row["kind"]), tuple(told), case)
