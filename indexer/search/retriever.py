"""What a question finds in a snapshot: passages, and solved examples like it (Dr.ICL).

Looks up, and judges nothing but the scores; the question's vectors are made elsewhere.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from indexer.domain import RetrievalSettings
from indexer.records import Demonstration, Document, Passage, Vectors
from indexer.search.demonstrations import choose_demonstrations
from indexer.search.eligible import Eligibility
from indexer.search.filters import Filter
from indexer.search.ranking import Candidate, Question, candidates, choose, reordered
from indexer.search.reading import Found, Piece, Reader
from indexer.search.rerank import Scorer
from indexer.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and why it stands where it does: the mode's score, BM25's where words found it."""

    passage: Passage
    order: float
    lexical: float | None = None


def nothing_hidden() -> Mapping[str, str]:
    """Where no document was deleted."""
    return _NOTHING


_NOTHING: Mapping[str, str] = {}


class Retriever:
    """Reads one snapshot, from any number of threads at once.

    `hidden` tells which documents were deleted since: path to document id.
    """

    def __init__(
        self, snapshot: Snapshot, hidden: Callable[[], Mapping[str, str]] = nothing_hidden
    ) -> None:
        self.snapshot = snapshot
        self._eligibility = Eligibility(snapshot, hidden)
        self._reader = Reader(snapshot)

    def search(
        self,
        question: Question,
        settings: RetrievalSettings,
        wanted: Filter | None = None,
        scorer: Scorer | None = None,
    ) -> list[Hit]:
        """Passages in the order of the settings' mode, best first.

        `scorer` is the cross-encoder that `settings.rerank` names; BadInput if a field of the
        filter is unknown.
        """
        if settings.rerank and scorer is None:
            raise ValueError(f"the cross-encoder {settings.rerank} was not given")
        eligible = self._eligibility.of(wanted)
        found = candidates(self.snapshot, question, settings, eligible)
        pieces: dict[int, Piece] = {}
        if settings.rerank and scorer and found:
            pieces = self._read(found, settings)
            found = reordered(found, scorer(question.text, self._told_of(found, pieces)))
        chosen = choose(self.snapshot, found, settings)
        if not chosen:
            return []
        told = {one.row: one for one in chosen}
        passages = self._reader.passages(
            [Found(one.row, one.cosine) for one in chosen],
            pieces or self._read(chosen, settings),
            settings.neighbours,
            eligible,
        )
        return [
            Hit(passage, told[hit.row].order, told[hit.row].lexical) for hit, passage in passages
        ]

    def demonstrations(
        self, vector: Vectors, k: int, min_score: float = -1.0, exclude: Collection[str] = ()
    ) -> list[Demonstration]:
        """At most `k`, the most similar last, none nearly the same as another.

        `exclude` holds ids: they, their groups and their questions are left out, so that none
        answers itself.
        """
        return choose_demonstrations(self.snapshot, vector, k, min_score, exclude)

    def document(self, path: str) -> Document | None:
        return self.snapshot.document(path)

    def close(self) -> None:
        self.snapshot.close()

    def _read(self, found: Sequence[Candidate], settings: RetrievalSettings) -> dict[int, Piece]:
        return self._reader.pieces([one.row for one in found], settings.neighbours)

    def _told_of(self, found: Sequence[Candidate], pieces: Mapping[int, Piece]) -> list[str]:
        """What a cross-encoder reads of each: its title and headings, then its text."""
        asked = [pieces[one.row] for one in found]
        texts = self._reader.texts([(piece.number, piece.start, piece.end) for piece in asked])
        return [
            " > ".join(filter(None, [piece.title, *piece.headings])) + f"\n{text}"
            for piece, text in zip(asked, texts, strict=True)
        ]
