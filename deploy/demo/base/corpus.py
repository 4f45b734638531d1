"""Reading the training data and splitting it into documents of short passages.

Expected below ``--data``, all gzip-compressed JSON Lines:
``corpora_plain/books.jsonl.gz`` (title, text), ``corpora_plain/docs.jsonl.gz`` (source, path,
text in Markdown or reStructuredText), ``cuad/contracts.jsonl.gz`` (_id, text) and
``medquad/qa_pairs.jsonl.gz`` (focus, question, answer).
"""

import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.demo.base.text import sentences

PASSAGE_SENTENCES = 8
HELD_OUT_PERCENT = 6
_SENTENCES_WANTED = {"books": 70_000, "docs": 180_000, "contracts": 60_000}
_RESERVED = re.compile(r"\[/?\d+\]|</?s>|<\||<pad>|https?:|```|[={}\\]|::")
_HEADING = re.compile(r"^#{1,5}\s+(.+?)\s*#*$")
_UNDERLINE = re.compile(r"^([=\-~^\"'*+#])\1{3,}$")
_LIST_LINE = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Document:
    """One text as passages of consecutive sentences."""

    kind: str
    held_out: bool
    passages: list[list[str]]


@dataclass(frozen=True)
class Answered:
    """A real question (or heading) and the sentences that stand under it."""

    question: str
    sentences: list[str]


@dataclass(frozen=True)
class Topic:
    """Questions about one subject, so that its other answers are hard distractors."""

    subject: str
    held_out: bool
    entries: list[Answered]


@dataclass(frozen=True)
class Corpus:
    """Everything training rows are made from."""

    documents: list[Document]
    topics: list[Topic]

    def part(self, held_out: bool) -> "Corpus":
        """Only the documents and topics inside, or outside, the held-out share."""
        return Corpus(
            [item for item in self.documents if item.held_out == held_out],
            [item for item in self.topics if item.held_out == held_out],
        )

    def texts(self) -> Iterator[str]:
        """Every sentence and question."""
        for document in self.documents:
            for passage in document.passages:
                yield from passage
        for topic in self.topics:
            for entry in topic.entries:
                yield entry.question
                yield from entry.sentences

    def save(self, path: Path) -> None:
        """Write the corpus as one compressed JSON file."""
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=3) as target:
            json.dump(asdict(self), target)

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        """Read what ``save`` wrote."""
        with gzip.open(path, "rt", encoding="utf-8") as source:
            raw = json.load(source)
        topics = [
            Topic(item["subject"], item["held_out"], [Answered(**one) for one in item["entries"]])
            for item in raw["topics"]
        ]
        return cls([Document(**item) for item in raw["documents"]], topics)


def is_held_out(key: str) -> bool:
    """Whether a document belongs to the share that is only ever tested on."""
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def usable(sentence: str) -> bool:
    """Keep sentences and short heading-like lines; drop code, markup and fragments."""
    words = sentence.split()
    if not 10 <= len(sentence) <= 270 or not 2 <= len(words) <= 45 or _RESERVED.search(sentence):
        return False
    readable = sum(c.isalnum() or c in " .,:;'\u2019()-%$€£/\"" for c in sentence)
    letters = sum(c.isalpha() for c in sentence)
    return readable >= 0.95 * len(sentence) and letters >= 0.55 * len(sentence)


def _flush(lines: list[str]) -> list[str]:
    return sentences(_LINK.sub(r"\1", " ".join(lines)))


def sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The headings of a Markdown-like text with the sentences, list lines included, below each."""
    heading, found, running = "", list[str](), list[str]()
    for line in re.sub(r"```.*?```", "", text, flags=re.S).splitlines():
        plain = re.sub(r"[*`_]{1,3}", "", line).strip()
        title = _HEADING.match(plain)
        underlined = _UNDERLINE.match(plain) is not None and len(running) == 1
        if title or underlined:
            new = title.group(1) if title else running.pop()
            found += _flush(running)
            yield heading, found
            heading, found, running = new, [], []
        elif not plain or _LIST_LINE.match(plain):
            found += _flush(running)
            running = [plain] if plain else []
        else:
            running.append(plain)
    yield heading, found + _flush(running)


def _passages(parts: Iterable[list[str]]) -> list[list[str]]:
    kept: list[list[str]] = []
    for part in parts:
        good = [sentence for sentence in part if usable(sentence)]
        pieces = range(0, len(good), PASSAGE_SENTENCES)
        kept += [good[i : i + PASSAGE_SENTENCES] for i in pieces if len(good) - i >= 2]
    return kept


def _read(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as source:
        for line in source:
            yield json.loads(line)


def _books(data: Path, rng: random.Random) -> Iterator[Document]:
    for number, book in enumerate(_read(data / "corpora_plain/books.jsonl.gz")):
        paragraphs = re.split(r"\n\s*\n", book["text"].replace("_", ""))
        for start in range(0, len(paragraphs), 60):
            if rng.random() < 0.4:
                chapter = paragraphs[start : start + 60]
                groups = [" ".join(chapter[i : i + 3]) for i in range(0, len(chapter), 3)]
                passages = _passages(sentences(group) for group in groups)
                # Whole books are held out: chapters of one book share its names.
                yield Document("books", number % 12 == 5, passages)


def _contracts(data: Path) -> Iterator[Document]:
    for contract in _read(data / "cuad/contracts.jsonl.gz"):
        parts = re.split(r"\n\s*\n", contract["text"][:30_000])
        passages = _passages(sentences(part) for part in parts)
        yield Document("contracts", is_held_out(contract["_id"]), passages)


def _manual(page: dict[str, str]) -> tuple[Document, Topic]:
    key = f"{page['source']}/{page['path']}"
    held, parts = is_held_out(key), list[list[str]]()
    entries: list[Answered] = []
    for heading, body in sections(page["text"][:60_000]):
        clear = re.sub(r"^[\d.]+\s+", "", heading).strip()
        below = [sentence for sentence in body if usable(sentence)]
        if len(clear.split()) >= 3 and usable(clear) and below:
            entries.append(Answered(clear, below[:PASSAGE_SENTENCES]))
        parts.append(([heading] if heading else []) + body)
    return Document("docs", held, _passages(parts)), Topic(key, held, entries)


def _medical(data: Path) -> Iterator[Topic]:
    grouped: defaultdict[str, list[Answered]] = defaultdict(list)
    for pair in _read(data / "medquad/qa_pairs.jsonl.gz"):
        found = [item for item in sentences((pair["answer"] or "")[:3000]) if usable(item)]
        good = [item for item in found if item[-1] in ".!"][:PASSAGE_SENTENCES]
        question = re.sub(r"\s+(\?|(?= ))", r"\1", pair["question"]).strip()
        if good and not _RESERVED.search(question):
            grouped[str(pair["focus"])].append(Answered(question, good))
    for subject, entries in grouped.items():
        yield Topic("medical:" + subject, is_held_out(subject), entries)


def _limited(documents: list[Document], rng: random.Random) -> list[Document]:
    rng.shuffle(documents)
    taken: defaultdict[tuple[str, bool], int] = defaultdict(int)
    kept: list[Document] = []
    for document in documents:
        share = (document.kind, document.held_out)
        limit = 8_000 if document.held_out else _SENTENCES_WANTED[document.kind]
        if sum(map(len, document.passages)) >= 6 and taken[share] < limit:
            taken[share] += sum(map(len, document.passages))
            kept.append(document)
    return kept


def read_corpus(data: Path, seed: int = 0) -> Corpus:
    """Read all sources and cut them to their wanted sizes."""
    rng = random.Random(seed)
    pages = _read(data / "corpora_plain/docs.jsonl.gz")
    # Command summaries ("Display help:") are most of the pages and teach little: keep a few.
    manuals = [
        _manual(page) for page in pages if "tldr" not in page["source"] or rng.random() < 0.15
    ]
    documents = [*_books(data, rng), *_contracts(data), *(document for document, _ in manuals)]
    topics = [*_medical(data), *(topic for _, topic in manuals if topic.entries)]
    return Corpus(_limited(documents, rng), topics)
