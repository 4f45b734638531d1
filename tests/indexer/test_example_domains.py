"""What holds for every sentence of the example domains: it can be quoted, whole and exactly."""

import json
from functools import cache

import pytest

from indexer.domain import Domain, load_domains
from indexer.reading.sources import read_demonstrations, read_documents
from indexer.records import Document, Sentence
from indexer.text.chunking import quotable, split
from tests.indexer.conftest import ROOT

_FOLDER = ROOT / "deploy" / "demo" / "domains"
_NAMES = ("clinic", "legal", "support")


@cache
def _domains() -> dict[str, Domain]:
    return load_domains(_FOLDER)


@cache
def _documents(name: str) -> dict[str, Document]:
    found = {source.path: source for source in read_documents(_domains()[name])}
    documents = {path: s for path, s in found.items() if isinstance(s, Document)}
    assert documents.keys() == found.keys()
    return documents


def _sentences(document: Document) -> list[Sentence]:
    return [s for block in document.blocks for s in quotable(document.text, block)]


def _words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("name", _NAMES)
def test_every_document_of_the_domain_is_read(name: str) -> None:
    documents = _documents(name)
    assert len(documents) >= 20
    assert {path.rpartition(".")[2] for path in documents} == {"md", "html", "txt"}
    for document in documents.values():
        assert document.title
        assert "<" not in document.text


@pytest.mark.parametrize("name", _NAMES)
def test_every_quote_is_a_whole_line_or_sentence_of_clean_text(name: str) -> None:
    for document in _documents(name).values():
        for sentence in _sentences(document):
            quote = document.text[sentence.start : sentence.end]
            assert quote == " ".join(quote.split()) != ""
            before = document.text[: sentence.start][-1:]
            after = document.text[sentence.end :][:1]
            assert before in ("\n", " ")
            assert after in ("", "\n", " ")
            assert after != " " or quote.rstrip("\"'”’)")[-1] in ".!?…"  # noqa: RUF001


@pytest.mark.parametrize("name", _NAMES)
def test_chunking_tears_no_sentence_and_loses_none(name: str) -> None:
    settings = _domains()[name].chunking
    for document in _documents(name).values():
        chunks = split(document, settings, _words)
        assert [s for chunk in chunks for s in chunk.sentences] == _sentences(document)


@pytest.mark.parametrize("name", _NAMES)
def test_every_gold_sentence_is_exactly_one_sentence_of_its_document(name: str) -> None:
    rows = (_FOLDER / name / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    gold = [row for row in map(json.loads, rows) if row.get("document")]
    assert len(gold) >= 20
    for row in gold:
        document = _documents(name)[row["document"]]
        quotes = [document.text[s.start : s.end] for s in _sentences(document)]
        assert quotes.count(" ".join(row["sentence"].split())) == 1, row


@pytest.mark.parametrize("name", _NAMES)
def test_the_solved_examples_are_read(name: str) -> None:
    assert len(read_demonstrations(_domains()[name])) >= 40


@pytest.mark.parametrize("name", _NAMES)
def test_every_conversation_asks_for_a_sentence_of_its_document(name: str) -> None:
    file = _FOLDER / name / "conversations.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 18
    for row in rows:
        text = _documents(name)[row["document"]].text
        assert " ".join(row["sentence"].split()) in " ".join(text.split()), row["id"]
