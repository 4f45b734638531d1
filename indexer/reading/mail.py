"""E-mail to lines and fields, and what is attached to it as bytes with names."""

import email
import email.policy
import email.utils
import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from indexer.reading.encoding import decode
from indexer.reading.fields import to_fields
from indexer.reading.kinds import KINDS, suffix_of
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.markup import read_html
from indexer.reading.plaintext import read_text
from indexer.reading.rules import Refused

# What the standard library's parser of headers raises at the worst of them.
_BROKEN = (ValueError, LookupError, AttributeError, TypeError, AssertionError)
_START = re.compile(rb"^From [^\n]*\d\d:\d\d[^\n]*\n", re.MULTILINE)
_HEADERS = ("from", "to", "cc", "date")
_BODIES = ("text/plain", "text/html")


class _Policy(email.policy.EmailPolicy):
    """A header that the standard library's parser breaks at is the text that it was sent as."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        try:
            return super().header_fetch_parse(name, value)
        except _BROKEN:
            return " ".join(str(value).splitlines())


def parse_mail(content: bytes) -> EmailMessage:
    """Refused: there is no header in it."""
    message = email.message_from_bytes(content, policy=_Policy())
    assert isinstance(message, EmailMessage)
    if not message.keys():
        raise Refused("is no e-mail: it has no headers")
    return message


def read_mail(message: EmailMessage) -> Extract:
    """The subject, who wrote to whom and when, and the body: plain text before HTML.

    Refused: a text of the body is none.
    """
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
    for number, part in enumerate(_attached(message), start=1):
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


def _parts(part: EmailMessage) -> list[tuple[EmailMessage, bool]]:
    """What a part is made of, nothing for a leaf; and of each whether it can be only a body.

    A mail within is a leaf: it is attached.
    """
    inner = part.get_payload() if part.get_content_maintype() == "multipart" else None
    kind = part.get_content_subtype()
    return [
        (one, kind == "alternative" or (kind == "related" and place == 0))
        for place, one in enumerate(inner if isinstance(inner, list) else [])
        if isinstance(one, EmailMessage)
    ]


def _is_body(part: EmailMessage, only: bool) -> bool:
    """A text that the mail shows. A name makes a file of it, if of a kind that is read."""
    if part.get_content_type() not in _BODIES or part.get_content_disposition() == "attachment":
        return False
    name = _file_name(part)
    return only or not name or suffix_of(name) not in KINDS


def _attached(part: EmailMessage, only: bool = True) -> Iterator[EmailMessage]:
    """Every leaf that is no body; of alternatives what lies with each of them."""
    parts = _parts(part)
    if not parts and not _is_body(part, only):
        yield part
    for inner in parts:
        yield from _attached(*inner)


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


def _body(part: EmailMessage, only: bool = True) -> list[Line]:
    """The texts of all parts in order; of alternatives the best that says anything."""
    parts = _parts(part)
    if not parts:
        return _text_lines(part) if _is_body(part, only) else []
    if part.get_content_subtype() != "alternative":
        return [line for inner in parts for line in _body(*inner)]
    return next((lines for inner in sorted(parts, key=_rank) if (lines := _body(*inner))), [])


def _rank(found: tuple[EmailMessage, bool]) -> int:
    """Plain text before HTML, and that before what holds neither."""
    if parts := _parts(found[0]):
        return min(_rank(inner) for inner in parts)
    return _BODIES.index(found[0].get_content_type()) if _is_body(*found) else len(_BODIES)


def _text_lines(part: EmailMessage) -> list[Line]:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return []
    text, _ = decode(payload, part.get_content_charset() or "")
    html = part.get_content_type() == "text/html"
    lines = (read_html(text) if html else read_text(text)).lines
    return [line._replace(kind="heading") if line.kind == "title" else line for line in lines]
