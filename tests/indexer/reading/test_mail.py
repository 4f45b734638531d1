"""Of a mail, however its parts are nested, every text and every file is read once."""

from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from indexer.records import Document, Rejected
from tests.indexer.reading.files import pdf
from tests.indexer.reading.reads import documents, one, read

_PDF = pdf([[(12, 72, 700, "It boils.")]])


def _plain(text: str = "Plain.", name: str = "") -> MIMEText:
    return _named(MIMEText(text, "plain"), name)


def _html(text: str = "Rich.", name: str = "") -> MIMEText:
    return _named(MIMEText(f"<p>{text}</p>", "html"), name)


def _named(part: MIMEText, name: str) -> MIMEText:
    if name:
        part.add_header("Content-Disposition", "inline", filename=name)
    return part


def _file(name: str = "a.pdf", content: bytes = _PDF) -> MIMEApplication:
    part = MIMEApplication(content)
    part.add_header("Content-Disposition", "attachment", filename=name)
    return part


def _multi(kind: str, *parts: MIMEBase) -> MIMEMultipart:
    return MIMEMultipart(kind, None, parts)


def _mail(message: MIMEBase) -> bytes:
    message["Subject"] = "Kettle"
    return message.as_bytes()


def _inner() -> MIMEMessage:
    inner = EmailMessage()
    inner["Subject"] = "Before"
    inner.set_content("Asked.")
    return MIMEMessage(inner)


@pytest.mark.parametrize(
    ("message", "text", "attached"),
    [
        (_multi("alternative", _plain(), _multi("mixed", _html(), _file())), "Plain.", "a.pdf"),
        (
            _multi("signed", _multi("mixed", _plain(), _file()), _file("smime.p7s", b"x")),
            "Plain.",
            "a.pdf",
        ),
        (_multi("mixed", _html(), _plain("Foot.")), "Rich.\nFoot.", ""),
        (_multi("mixed", _plain(), _file(), _plain("Below.")), "Plain.\nBelow.", "a.pdf"),
        (_multi("alternative", _html(), _plain()), "Plain.", ""),
        (_multi("alternative", _plain(" \n"), _html()), "Rich.", ""),
        (_multi("alternative", _plain(" "), _multi("related", _html(), _file())), "Rich.", "a.pdf"),
        (_multi("alternative", _plain(), _html(name="x.html")), "Plain.", ""),
        (_multi("related", _html(name="x.html")), "Rich.", ""),
        (_multi("mixed", _plain(), _plain("Note.", "n.txt")), "Plain.", "n.txt"),
        (_multi("mixed", _plain(name="body.part1"), _plain("Foot.")), "Plain.\nFoot.", ""),
        (_multi("mixed", _plain(), _inner(), _inner()), "Plain.", "1.eml 2.eml"),
        (_plain(name="x.txt"), "Plain.", ""),
    ],
)
def test_texts_join_the_body_and_files_are_attached(
    message: MIMEBase, text: str, attached: str
) -> None:
    body, *files = documents("in.eml", _mail(message))
    assert body.text == f"Kettle\n{text}"
    assert [one.path for one in files] == [f"in.eml/{name}" for name in attached.split()]


def test_a_mail_that_is_nothing_but_a_file_gives_the_file() -> None:
    found = [one for one in read("in.eml", _mail(_file())) if isinstance(one, Document)]
    assert [one.path for one in found] == ["in.eml/a.pdf"]


def test_a_body_that_is_no_text_is_named_and_the_attachments_are_read() -> None:
    body, attached = read("in.eml", _mail(_multi("mixed", _plain("a\0b"), _file())))
    assert isinstance(body, Rejected)
    assert (body.path, "NUL" in body.reason) == ("in.eml", True)
    assert isinstance(attached, Document)


def test_a_header_that_cannot_be_parsed_costs_only_itself() -> None:
    content = b"Subject: Tea\nFrom: a@b.c\nContent-Type: text/plain; name*\n\nHot.\n"
    assert one("in.eml", content).text == "Tea\nFrom: a@b.c\nHot."
