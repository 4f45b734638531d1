"""No row of a table and no cell of a row is lost without a word."""

import pytest

from indexer.reading import objects
from indexer.records import Document, Rejected
from tests.indexer.reading.files import archive, cell, xlsx
from tests.indexer.reading.reads import documents, lines, one, read, reason


def _sheet(*rows: str) -> str:
    """Cells told apart by bars; a row without any is a blank one."""
    return "".join(
        f'<row r="{n}">'
        + "".join(cell(f"{'ABC'[m]}{n}", text) for m, text in enumerate(row.split("|")) if text)
        + "</row>"
        for n, row in enumerate(rows, start=1)
    )


def test_a_row_that_stands_alone_between_blank_ones_is_kept() -> None:
    rows = ("Company|ACME", "", "Contact|Bob", "", "Name|Age", "Ann|4")
    assert lines(one("staff.xlsx", xlsx(_sheet(*rows))))[1:] == [
        ("row", 0, "Company | ACME"),
        ("row", 0, "Contact | Bob"),
        ("row", 0, "Name: Ann | Age: 4"),
    ]


def test_a_sheet_that_is_damaged_is_named() -> None:
    found = read("a.xlsx", xlsx('<row r="1"><c r="A1" t="s"><v>99</v></c></row>'))
    assert found[0].path == "a.xlsx:Staff"
    assert "damaged" in getattr(found[0], "reason", "")


def test_a_text_that_nobody_quoted_is_whole() -> None:
    first, second = documents("a.csv", b"id,text\n1,Hello, world and more\n2,Bye,,\n")
    assert first.text.endswith("\nHello, world and more")
    assert second.text.endswith("\nBye")


def test_a_row_with_more_cells_than_columns_is_named() -> None:
    first, second = read("a.csv", b"text,id\nHello, world,1\nBye,2\n")
    assert first == Rejected("a.csv:1", "has more cells than columns")
    assert second.path == "a.csv/2"


def test_a_quote_that_is_not_closed_is_named_and_the_rows_before_it_are_read() -> None:
    first, second = read("a.csv", b'id,text\n1,"Hot\ntea"\n2,"Cold\n3,Warm\n4,Ice\n')
    assert first.path == "a.csv/1"
    expected = "has a quote that is not closed, in the row that begins in line 4"
    assert second == Rejected("a.csv", expected)
    assert "not closed" in reason("b.csv", b'Name,Age\nAnn,"4\nBo,5\n')


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_table_may_end_with_a_quote_that_is_closed(end: str) -> None:
    assert one("a.csv", f'Name,Age\nAnn,"4"{end}'.encode()).text.endswith("Name: Ann | Age: 4")


def test_a_row_with_half_a_character_costs_only_itself() -> None:
    first, second = read("a.jsonl", b'{"text":"cut \\ud83d"}\n{"text":"Hot."}\n')
    assert isinstance(first, Rejected)
    assert (first.path, second.path) == ("a.jsonl:1", "a.jsonl/2")
    assert isinstance(second, Document)


def test_many_rows_without_a_text_are_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_DOCUMENTS", 2)
    assert len(one("a.jsonl", b'{"n": 1}\n' * 3).blocks) == 4
    assert "more than 2 documents" in reason("a.jsonl", b'{"text": "Hot."}\n' * 3)


def test_the_files_of_an_archive_may_be_named_from_its_folder() -> None:
    inner: dict[str, str | bytes] = {"./a.md": "Hot.", "/b//c.md": "Cold.", "./.git/d.md": "x"}
    assert [found.path for found in documents("all.zip", archive(inner))] == [
        "all.zip/a.md",
        "all.zip/b/c.md",
    ]


@pytest.mark.parametrize("inner", [{}, {".hidden.md": "x"}, {"folder/": ""}])
def test_an_archive_without_documents_says_so(inner: dict[str, str | bytes]) -> None:
    assert reason("all.zip", archive(inner)) == "holds no documents"
