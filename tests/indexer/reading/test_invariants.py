"""What everything after reading relies on, of every document of every format."""

import json

from hypothesis import given
from hypothesis import strategies as st

from indexer.records import Document
from tests.indexer.reading.files import archive, cell, docx, paragraph, pdf, pptx, xlsx
from tests.indexer.reading.reads import read

_WORDS = st.text(
    alphabet=st.sampled_from("abcé \t\n|:,;\"'#*-_<>&\u00ad\u200b\u3000\ufeff漢👍\u0301.1"),
    max_size=60,
)
_KINDS = st.sampled_from(
    ["a.md", "a.html", "a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.eml", "a.mbox", "a"]
)


def _check(name: str, content: bytes) -> None:
    found = read(name, content)
    assert found == read(name, content)
    paths = [one.path for one in found if isinstance(one, Document)]
    assert len(paths) == len(set(paths))
    for one in found:
        if isinstance(one, Document):
            _check_document(one)


def _check_document(document: Document) -> None:
    blocks = [document.text[block.start : block.end] for block in document.blocks]
    assert "\n".join(blocks) == document.text
    assert all(block and block == " ".join(block.split()) for block in blocks)
    assert sum(block.kind == "title" for block in document.blocks) == 1
    assert any(block.kind not in ("title", "heading") for block in document.blocks)
    assert list(document.pages) == sorted(document.pages)
    assert all(0 <= page <= len(document.text) for page in document.pages)
    assert all(isinstance(value, (str, int, float, bool)) for value in document.fields.values())
    assert document.text.encode()


@given(_KINDS, _WORDS)
def test_plain_formats_give_one_clean_block_a_line(name: str, text: str) -> None:
    _check(name, text.encode())


@given(_KINDS, st.binary(max_size=120))
def test_any_bytes_give_documents_or_reasons(name: str, content: bytes) -> None:
    _check(name, content)


@given(st.recursive(st.none() | st.booleans() | st.floats() | _WORDS, st.lists))
def test_any_json_gives_documents_or_reasons(value: object) -> None:
    _check("a.json", json.dumps(value).encode())
    _check("a.json", json.dumps({"text": value, "id": value, "more": value}).encode())
    _check("a.jsonl", json.dumps([{"content": value}]).encode())


@given(st.lists(st.lists(_WORDS, max_size=4), max_size=5))
def test_office_formats_give_one_clean_block_a_line(rows: list[list[str]]) -> None:
    safe = [[_escaped(text) for text in row] for row in rows]
    _check("a.docx", docx("".join(paragraph(text) for row in safe for text in row)))
    _check("a.pptx", pptx([("Title", row) for row in safe]))
    cells = [
        f'<row r="{n}">' + "".join(cell(f"{'ABCD'[m]}{n}", text) for m, text in enumerate(row))
        for n, row in enumerate(safe, start=1)
    ]
    _check("a.xlsx", xlsx("".join(f"{row}</row>" for row in cells)))
    _check("a.zip", archive({f"{n}.txt": " ".join(row) for n, row in enumerate(rows)}))


@given(st.lists(st.lists(st.text(alphabet="abc .-:", max_size=40), max_size=4), max_size=5))
def test_printed_pages_give_one_clean_block_a_line(pages: list[list[str]]) -> None:
    placed = [
        [(12 + n % 2 * 8, 72, 720 - 20 * n, text) for n, text in enumerate(page)] for page in pages
    ]
    _check("a.pdf", pdf(placed))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
