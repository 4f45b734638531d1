"""What a question finds in a snapshot: passages, and solved examples like it (Dr.ICL).

Looks up, and judges nothing but the score; the question's vector is made elsewhere.
"""

from collections.abc import Collection

from indexer.errors import StoreError
from indexer.index.vectors import VectorIndex
from indexer.records import Demonstration, Document, Passage, Vectors
from indexer.store.snapshot import Snapshot
from indexer.store.tables import DEMONSTRATION, Row, read_headings, read_sentences

_PASSAGE = """
SELECT c.row, c.id, c.document, d.title, c.headings, c.start,
       substr(d.text, c.start + 1, c.end - c.start), c.sentences
FROM chunks c JOIN documents d ON d.path = c.document WHERE c.row IN ({marks})
"""


class Retriever:
    """Reads one snapshot, from any number of threads at once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def passages(self, vector: Vectors, k: int, min_score: float = -1.0) -> list[Passage]:
        """At most `k`, best first, none with a cosine below `min_score`."""
        scores = _nearest(self.snapshot.passages, vector, k, min_score)
        marks = ",".join("?" * len(scores))
        found = [
            Passage(
                chunk=name,
                document=document,
                title=title,
                headings=read_headings(headings),
                start=start,
                text=text,
                sentences=read_sentences(sentences),
                score=scores[row],
            )
            for row, name, document, title, headings, start, text, sentences in self._read(
                _PASSAGE.format(marks=marks), scores
            )
        ]
        return sorted(found, key=lambda passage: (-passage.score, passage.chunk))

    def demonstrations(
        self, vector: Vectors, k: int, min_score: float = -1.0, exclude: Collection[str] = ()
    ) -> list[Demonstration]:
        """At most `k`, the most similar last; `exclude` holds ids, so that none answers itself."""
        if k <= 0:
            return []
        scores = _nearest(self.snapshot.demonstrations, vector, k + len(exclude), min_score)
        marks = ",".join("?" * len(scores))
        query = f"SELECT row, {DEMONSTRATION} FROM demonstrations WHERE row IN ({marks})"
        found = [
            Demonstration(name, question, answer, group, scores[row])
            for row, name, question, answer, group in self._read(query, scores)
            if name not in exclude
        ]
        return sorted(found, key=lambda demonstration: (demonstration.score, demonstration.id))[-k:]

    def document(self, path: str) -> Document | None:
        return self.snapshot.document(path)

    def close(self) -> None:
        self.snapshot.close()

    def _read(self, query: str, scores: dict[int, float]) -> list[Row]:
        return self.snapshot.read(query, *scores) if scores else []


def _nearest(index: VectorIndex, vector: Vectors, k: int, min_score: float) -> dict[int, float]:
    """Row to score."""
    if k <= 0 or not index.count:
        return {}
    if vector.shape != (index.dimension,):
        raise StoreError(
            f"A question of {vector.shape} numbers was asked of an index of {index.dimension}",
            "Use the embedding model that the snapshot names, or index the domain again",
        )
    scores, rows = index.search(vector, min(k, index.count))
    return {
        int(row): float(score)
        for score, row in zip(scores[0], rows[0], strict=True)
        if row >= 0 and score >= min_score
    }
