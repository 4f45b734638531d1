"""Every format gives its text, its structure and what it states about itself."""

import io
import json
import zipfile
from email.message import EmailMessage

import pytest

from indexer.records import Rejected
from tests.indexer.reading.files import (
    archive,
    cell,
    docx,
    docx_table,
    paragraph,
    pdf,
    pptx,
    xlsx,
)
from tests.indexer.reading.reads import documents, lines, one, read, reason, rules


def test_a_docx_gives_headings_tables_and_its_properties() -> None:
    body = paragraph("Care", "Heading1") + paragraph("Boil it.")
    found = one("a.docx", docx(body + docx_table([["Fault", "Remedy"], ["Hums", "Descale"]])))
    assert lines(found) == [
        ("title", 1, "The kettle"),
        ("heading", 2, "Care"),
        ("paragraph", 0, "Boil it."),
        ("row", 0, "Fault | Remedy"),
        ("row", 0, "Hums | Descale"),
    ]
    assert found.fields == {"author": "Ann Lee", "created": "2024-05-03T10:15:00Z"}


def test_a_pptx_has_a_page_per_slide_in_the_order_of_the_show() -> None:
    found = one("a.pptx", pptx([("First", ["One", "Two"]), ("Second", ["Three"])]))
    assert lines(found) == [
        ("title", 1, "First"),
        ("item", 1, "One"),
        ("item", 1, "Two"),
        ("heading", 2, "Second"),
        ("item", 1, "Three"),
    ]
    assert [found.page(found.text.index(word)) for word in ("First", "Two", "Second")] == [1, 1, 2]


def test_a_pptx_whose_pictures_are_missing_is_read() -> None:
    relation = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="x/image" Target="../media/gone.png"/>'
        '<Relationship Id="rId2" Type="x/notesSlide" TargetMode="External"'
        ' Target="http://127.0.0.1:9/notes.xml"/></Relationships>'
    )
    assert "One" in one("a.pptx", pptx([("First", ["One"])], relation)).text


def test_a_sheet_gives_rows_that_can_be_read_alone_and_values_of_formulas() -> None:
    header = f'<row r="2">{cell("A2", "Name")}{cell("B2", "Age")}</row>'
    rows = f'<row r="3">{cell("A3", "Ann")}<c r="B3"><f>2+2</f><v>4</v></c></row>'
    title = f'<row r="1">{cell("A1", "Who works here")}</row>'
    found = one("staff.xlsx", xlsx(title + header + rows))
    assert lines(found) == [
        ("title", 1, "Staff"),
        ("paragraph", 0, "Who works here"),
        ("row", 0, "Name: Ann | Age: 4"),
    ]


def test_a_pdf_gives_pages_headings_and_paragraphs() -> None:
    first = [
        (20, 72, 720, "The kettle"),
        (12, 72, 690, "The kettle holds 1.7 litres and it boils in less"),
        (12, 72, 676, "than four minutes when it is full to the mark."),
        (12, 72, 640, "Descale it every month."),
    ]
    stated = "/Author (Ann) /CreationDate (D:20240503101500Z) /Title (Microsoft Word - a.doc)"
    found = one("a.pdf", pdf([first, [(12, 72, 720, "Page two.")]], stated))
    assert lines(found) == [
        ("title", 1, "The kettle"),
        (
            "paragraph",
            0,
            "The kettle holds 1.7 litres and it boils in less than four minutes when it is full to"
            " the mark.",
        ),
        ("paragraph", 0, "Descale it every month."),
        ("paragraph", 0, "Page two."),
    ]
    assert found.fields == {"author": "Ann", "created": "2024-05-03T10:15:00"}
    assert [found.page(found.text.index(word)) for word in ("boils", "two")] == [1, 2]


def test_what_stands_on_every_page_of_a_pdf_is_left_out() -> None:
    pages = [
        [(12, 72, 760, "Manual of the kettle"), (12, 72, 400, f"Part {word}."), (9, 72, 30, f"{n}")]
        for n, word in enumerate(("one", "two", "three", "four"), start=1)
    ]
    found = one("a.pdf", pdf(pages))
    assert found.text == "A\nPart one.\nPart two.\nPart three.\nPart four."
    assert len(found.pages) == 4


def test_rows_that_begin_each_page_of_a_pdf_stay_and_its_numbers_go() -> None:
    rows = ["1001 25 3.50", "1002 7 12.00", "1003 25 1.99", "1004 6 3.50", "1005 4 8.25"]
    pages = [
        [(12, 72, 760, row), (12, 72, 400, "Stock as counted."), (9, 72, 30, f"Page {n} of 5")]
        for n, row in enumerate(rows, start=1)
    ]
    found = one("a.pdf", pdf(pages))
    assert all(row in found.text for row in rows)
    assert "of 5" not in found.text


def test_a_short_record_a_page_is_what_a_pdf_holds() -> None:
    records = [f"Room 2{n} has {n * n} beds." for n in range(1, 6)]
    found = one("a.pdf", pdf([[(12, 72, 400, record)] for record in records]))
    assert found.text.splitlines() == ["A", *records]


def test_a_pdf_of_pictures_says_that_it_holds_no_text() -> None:
    assert "holds no text" in reason("scan.pdf", pdf([[]]))


def test_front_matter_gives_typed_fields() -> None:
    text = (
        "---\ntitle: Tea\ndate: 2024-05-03\nrating: 4.5\nyear: 2024\ndraft: false\n"
        "tags: [hot, green]\nowner:\n  name: Ann\n---\n# Other\n\nHot.\n"
    )
    found = one("a.md", text.encode())
    assert found.title == "Tea"
    assert found.fields == {
        "date": "2024-05-03",
        "rating": 4.5,
        "year": 2024,
        "draft": False,
        "tags": "hot, green",
        "owner.name": "Ann",
    }


def test_front_matter_that_is_no_yaml_still_gives_its_pairs() -> None:
    found = one("a.md", b"---\ntitle: Tea: a *story*\nby: @ann\n---\nHot.\n")
    assert (found.title, found.fields) == ("Tea: a *story*", {"by": "@ann"})


def test_a_page_states_fields_in_its_head() -> None:
    page = (
        b'<html lang="en"><head><title>Tea</title><meta name="author" content="Ann">'
        b'<meta property="article:published_time" content="2024-05-03"></head><p>Hot.</p>'
    )
    assert one("a.html", page).fields == {
        "author": "Ann",
        "date": "2024-05-03",
        "language": "en",
    }


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_table_gives_each_row_with_its_headers(separator: str) -> None:
    text = "\n".join(separator.join(row) for row in (["Name", "Age"], ["Ann", "4"], ["Bo", ""]))
    found = one("staff.csv", text.encode())
    assert lines(found)[1:] == [("row", 0, "Name: Ann | Age: 4"), ("row", 0, "Name: Bo")]


def test_a_table_with_a_column_of_texts_is_a_document_a_row() -> None:
    table = b"id,title,text,price,sold\n7,Tea,Hot.,2.5,true\n8,Ice,Cold.,3,false\n"
    first, second = documents("menu.csv", table)
    assert (first.path, second.path) == ("menu.csv/7", "menu.csv/8")
    assert (first.text, first.fields) == ("Tea\nHot.", {"price": 2.5, "sold": True})
    assert first.sha256 != second.sha256


def test_ragged_rows_lose_no_cell() -> None:
    found = one("a.csv", b"Name,Age\nAnn,4,extra\nBo,5\n")
    assert lines(found)[1:] == [
        ("row", 0, "Name: Ann | Age: 4 | extra"),
        ("row", 0, "Name: Bo | Age: 5"),
    ]


def test_a_mail_gives_subject_body_fields_and_what_is_attached() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Kettle", "Ann <ann@example.com>", "bo@example.com"
    mail["Date"] = "Fri, 03 May 2024 10:15:00 +0200"
    mail.set_content("It hums.\n")
    mail.add_alternative("<p>It hums in <b>HTML</b>.</p>", subtype="html")
    mail.add_attachment(docx(), maintype="application", subtype="octet-stream", filename="k.docx")
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="logo.png")
    body, attached = documents("in.eml", mail.as_bytes())
    assert (body.path, attached.path) == ("in.eml", "in.eml/k.docx")
    assert body.title == "Kettle"
    assert body.text.endswith("\nIt hums.")
    assert body.fields == {
        "from": "Ann <ann@example.com>",
        "to": "bo@example.com",
        "date": "2024-05-03T10:15:00+02:00",
    }


def test_a_mail_with_nothing_but_html_is_read() -> None:
    mail = EmailMessage()
    mail["Subject"] = "Kettle"
    mail.set_content("<p>It hums.</p>", subtype="html")
    assert one("in.eml", mail.as_bytes()).text == "Kettle\nIt hums."


def test_a_box_of_mails_is_a_document_a_mail() -> None:
    box = "".join(
        f"From ann@example.com Fri May  3 10:1{n}:00 2024\nSubject: {n}\nFrom: a@b.c\n\nNo {n}.\n\n"
        for n in range(2)
    )
    assert [found.path for found in read("in.mbox", box.encode())] == [
        "in.mbox/1.eml",
        "in.mbox/2.eml",
    ]


def test_an_archive_gives_the_documents_in_it() -> None:
    inner: dict[str, str | bytes] = {
        "b.md": "# B\n\nBoil.",
        "a/k.docx": docx(),
        ".hidden.md": "x",
        "p.png": b"\x89PNG",
    }
    found = read("all.zip", archive(inner))
    assert [one.path for one in found] == ["all.zip/a/k.docx", "all.zip/b.md", "all.zip/p.png"]
    assert isinstance(found[2], Rejected)


def test_rich_text_and_books_are_read() -> None:
    assert "It boils." in one("a.rtf", rb"{\rtf1\ansi It boils.\par}").text
    page = "<html xmlns='http://www.w3.org/1999/xhtml'><body><h1>Tea</h1><p>Hot.</p></body></html>"
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
            '<rootfiles><rootfile full-path="b.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
        )
        book.writestr(
            "b.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata'
            ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>On tea</dc:title></metadata>'
            '<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
            '<spine><itemref idref="a"/></spine></package>',
        )
        book.writestr("a.xhtml", page)
    found = one("a.epub", held.getvalue())
    assert found.title == "On tea"
    assert "Hot." in found.text


def test_an_open_document_text_is_read() -> None:
    content = (
        '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
        ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:text>'
        '<text:h text:outline-level="1">Tea</text:h><text:p>Hot.</text:p></office:text>'
        "</office:body></office:document-content>"
    )
    mark = "application/vnd.oasis.opendocument.text"
    found = one("a.odt", archive({"mimetype": mark, "content.xml": content}))
    assert lines(found) == [("title", 1, "Tea"), ("paragraph", 0, "Hot.")]


def test_bytes_decide_before_the_name_does() -> None:
    assert one("a.txt", pdf([[(12, 72, 700, "It boils.")]])).text.endswith("It boils.")
    assert one("a.pptx", docx()).text.endswith("1.7 litres.")
    assert "not what its name says" in reason("a.pdf", b"plain words")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<!DOCTYPE html><title>Tea</title><p>Hot.", "Tea\nHot."),
        (b"From: a@b.c\nTo: b@c.d\nSubject: Tea\n\nHot.\n", "Tea\nFrom: a@b.c | To: b@c.d\nHot."),
        (b"Hot tea is good.\n", "README\nHot tea is good."),
    ],
)
def test_a_file_without_a_suffix_is_known_by_its_beginning(content: bytes, text: str) -> None:
    assert one("README", content).text == text


def test_a_limit_of_depth_holds_for_files_within_files() -> None:
    inner = archive({"a.md": "Hot."})
    for _ in range(3):
        inner = archive({"in.zip": inner})
    assert one("a.zip", inner, rules(depth=5)).text == "A\nHot."
    assert reason("a.zip", inner, rules(depth=4)) == "lies deeper than 4 files within files"


_LONG = "Very long " * 31 + "title"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("far-off.md", f"# {_LONG}\n\nHot.\n"),
        ("far-off.md", f"---\ntitle: {_LONG}\n---\n# Tea\n\nHot.\n"),
        ("far-off.html", f"<title>{_LONG}</title><p>Hot.</p>"),
        ("far-off.json", json.dumps({"title": _LONG, "text": "TEA\n\nHot.\n"})),
        ("far-off.eml", f"From: a@b.c\nSubject: {_LONG}\n\nHot.\n"),
    ],
)
def test_a_title_that_is_too_long_is_text_and_the_file_gives_its_name(
    name: str, content: str
) -> None:
    found = one(name, content.encode())
    assert found.title == "Far off"
    assert lines(found)[0] == ("title", 1, "Far off")
    assert lines(found).count(("paragraph", 0, _LONG)) == 1
    assert lines(found)[-1][2] == "Hot."
    assert sum(kind == "title" for kind, _, _ in lines(found)) == 1


def test_a_row_whose_title_is_too_long_is_named_by_its_id() -> None:
    found = one("menu.csv", f"id,title,text\ntea,{_LONG},Hot.\n".encode())
    assert (found.title, found.text) == ("Tea", f"Tea\n{_LONG}\nHot.")


def test_a_heading_that_is_too_long_is_text_and_pages_begin_where_they_did() -> None:
    found = one("a.md", f"# Tea\n\n## {_LONG}\n\nHot.\n".encode())
    assert lines(found)[1:] == [("paragraph", 0, _LONG), ("paragraph", 0, "Hot.")]
    printed = one(
        "a.pdf", pdf([[(12, 72, 400, "One.")], [(12, 72, 400, "Two.")]], f"/Title ({_LONG})")
    )
    assert printed.text == f"A\n{_LONG}\nOne.\nTwo."
    assert printed.page(printed.text.index("One.")) == 1
    assert printed.pages[1] == printed.text.index("Two.")


def test_a_name_that_is_too_long_is_a_title_cut() -> None:
    found = one("menu.csv", f"id,text\n{_LONG},Hot.\n".encode())
    assert found.title == _LONG[:300].rstrip()
