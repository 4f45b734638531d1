"""E-mail to lines and fields, and what is attached to it as bytes with names."""

import email
import email.policy
import email.utils
import re
from collections.abc import Iterator
from email.message import EmailMessage

from indexer.reading.encoding import decode
from indexer.reading.fields import to_fields
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.markup import read_html
from indexer.reading.plaintext import read_text
from indexer.reading.rules import Refused

# What the standard library's parser of headers raises at the worst of them.
_BROKEN = (ValueError, LookupError, AttributeError, TypeError, AssertionError)
_START = re.compile(rb"^From [^\n]*\d\d:\d\d[^\n]*\n", re.MULTILINE)
_HEADERS = ("from", "to", "cc", "date")


def parse_mail(content: bytes) -> EmailMessage:
    """Refused: there is no header in it."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    if not message.keys():
        raise Refused("is no e-mail: it has no headers")
    return message


def read_mail(message: EmailMessage) -> Extract:
    """The subject, who wrote to whom and when, and the body: plain text before HTML."""
    subject = clean(_header(message, "subject"))
    stated = {name: _header(message, name) for name in _HEADERS}
    stated["date"] = _date(stated["date"])
    lines = [Line("paragraph", 0, text) for text in _opening(stated)]
    return Extract(subject, [*lines, *_body(message)], to_fields(stated))


def _opening(stated: dict[str, str]) -> Iterator[str]:
    """Who and when, as a line: people ask for a mail by these."""
    names = (("From", "from"), ("To", "to"), ("Date", "date"))
    pairs = [f"{name}: {clean(stated[key])}" for name, key in names if stated[key]]
    if pairs:
        yield clean(" | ".join(pairs))


def attachments(message: EmailMessage) -> Iterator[tuple[str, bytes]]:
    """Names and bytes; a message within is one too. Pictures, sounds and films are left out."""
    for number, part in enumerate(_parts(message), start=1):
        if part.get_content_maintype() in ("image", "audio", "video"):
            continue
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload()
            one = inner[0] if isinstance(inner, list) and inner else None
            if isinstance(one, EmailMessage):
                yield f"{number}.eml", one.as_bytes(policy=email.policy.compat32)
            continue
        payload = part.get_payload(decode=True)
        name = _file_name(part)
        if name and isinstance(payload, bytes) and payload:
            yield name, payload


def mails_of(content: bytes) -> list[bytes]:
    """The messages of an mbox. Refused: there is none."""
    starts = [*_START.finditer(content)]
    if not starts:
        raise Refused("is no box of e-mails: no line begins one")
    ends = [*(match.start() for match in starts[1:]), len(content)]
    return [content[m.end() : end] for m, end in zip(starts, ends, strict=True)]


def _parts(message: EmailMessage) -> Iterator[EmailMessage]:
    if message.get_content_type() == "message/rfc822":
        return
    try:
        yield from message.iter_attachments()
    except _BROKEN:
        return


def _file_name(part: EmailMessage) -> str:
    try:
        name = part.get_filename() or ""
    except _BROKEN:
        return ""
    return clean(name.replace("\\", "/").rpartition("/")[2])


def _header(message: EmailMessage, name: str) -> str:
    try:
        return clean(str(message.get(name) or ""))
    except _BROKEN:
        return ""


def _date(text: str) -> str:
    try:
        return email.utils.parsedate_to_datetime(text).isoformat()
    except _BROKEN:
        return ""


def _body(message: EmailMessage) -> list[Line]:
    for kind in ("plain", "html"):
        try:
            part = message.get_body((kind,))
        except _BROKEN:
            part = None
        if part is None or (payload := part.get_payload(decode=True)) is None:
            continue
        assert isinstance(payload, bytes)
        text, _ = decode(payload, part.get_content_charset() or "")
        lines = (read_html(text) if kind == "html" else read_text(text)).lines
        if lines:
            return [
                line._replace(kind="heading") if line.kind == "title" else line for line in lines
            ]
    return []
