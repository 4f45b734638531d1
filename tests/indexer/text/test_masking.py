"""Personal data is replaced by the name of its kind; what only looks like it stays."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.domain import ChunkingSettings
from indexer.errors import BadInput
from indexer.reading.layout import Line, to_document
from indexer.records import Document
from indexer.text.chunking import split
from indexer.text.masking import KINDS, Masker, masker_identity

ROOT = Path(__file__).resolve().parents[3]
FOUND = {
    "email": [
        ("Write to ann.lee+x@example.co.uk.", "Write to <EMAIL>."),
        ("(bob_1@mail.example.org)", "(<EMAIL>)"),
        ("Ann Lee <ann@exämple.org>", "Ann Lee <<EMAIL>>"),
    ],
    "url": [
        ("See https://example.org/a?b=c.", "See <URL>."),
        ("(www.example.org/a_(b))", "(<URL>)"),
        ("ftp://ann@example.org/x, then", "<URL>, then"),
    ],
    "iban": [
        ("IBAN GB82 WEST 1234 5698 7654 32 please", "IBAN <IBAN> please"),
        ("DE89370400440532013000, or", "<IBAN>, or"),
        ("DE89 3704 0044 0532 0130 00 OR ELSE", "<IBAN> OR ELSE"),
    ],
    "credit_card": [
        ("Card 4111 1111 1111 1111.", "Card <CREDIT_CARD>."),
        ("5500-0000-0000-0004", "<CREDIT_CARD>"),
        ("378282246310005 ends", "<CREDIT_CARD> ends"),
    ],
    "us_ssn": [("SSN 536-90-4399.", "SSN <US_SSN>.")],
    "ip_address": [
        ("Host 192.168.10.4 is up.", "Host <IP_ADDRESS> is up."),
        ("2001:db8:85a3::8a2e:370:7334 is up", "<IP_ADDRESS> is up"),
    ],
    "phone": [
        ("Ring +44 20 7946 0958 now.", "Ring <PHONE> now."),
        ("Call (212) 555-0143.", "Call <PHONE>."),
        ("(1-800-232-4636", "(<PHONE>"),
        ("Tel: 020 7946 0958", "Tel: <PHONE>"),
        ("tel 18008608747", "tel <PHONE>"),
        ("+49 30 901820", "<PHONE>"),
    ],
}
OTHERS = [
    *("a@b", "@ann", "Version 1.2.3.4.5 is out", "v1.2.3.4", "999.1.1.1", "127.0.0.1", "::1"),
    *("10:11:12", "std::vector", "4111 1111 1111 1112", "pages 10-12 and 2019-2020"),
    *("ISBN 978-3-16-148410-0", "GB82 WEST 1234 5698 7654 33", "1,234,567.89", "2147483647"),
    *("ratio 0.123456789", "2024-05-12 10:11:12", "No. 45/2001", "10.1000/182", "999-99-9999"),
    *("666-12-1234", "0000 0000 0000 0000", "Room 4 opens at 9", "http", "1-800 is dear", "a:b"),
]


def _document(*texts: str, title: str = "T") -> Document:
    lines = [Line("paragraph", 0, text) for text in texts]
    return to_document("a.md", title, lines, "0" * 64, {"from": texts[0], "n": 3}, [0, 1])


@pytest.mark.parametrize(
    ("kind", "text", "masked"), [(k, *pair) for k, pairs in FOUND.items() for pair in pairs]
)
def test_each_kind_is_found_and_nothing_around_it(kind: str, text: str, masked: str) -> None:
    found, counts = Masker([kind]).mask(_document(text))
    assert found.text == f"T\n{masked}"
    assert found.fields == {"from": masked, "n": 3}
    assert counts == {kind: 2}


@pytest.mark.parametrize("text", OTHERS)
def test_what_only_looks_like_it_stays(text: str) -> None:
    document = _document(text)
    assert Masker(KINDS).mask(document) == (document, Counter())


@pytest.mark.parametrize("piece", ["x", "a.", "1 ", "12", "a@", "a:", "AB12 ", "+1", "@a.", "1-"])
def test_a_line_without_end_is_searched_in_a_time_that_grows_with_its_length(piece: str) -> None:
    document = _document(piece * 20_000)
    assert Masker(KINDS).mask(document) == (document, Counter())


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_kinds_that_are_named_are_masked(kind: str) -> None:
    text = " and ".join(pairs[0][0] for pairs in FOUND.values())
    _, counts = Masker([kind]).mask(_document(text))
    assert set(counts) == {kind}


def test_every_kind_is_tested() -> None:
    assert list(FOUND) == list(KINDS)


def test_what_two_kinds_find_is_masked_once() -> None:
    found, counts = Masker(["url", "email", "phone"]).mask(_document("At ftp://a@b.example/x."))
    assert found.text == "T\nAt ftp://<EMAIL>/x."
    assert counts == {"email": 2}


def test_a_mask_announces_no_number_behind_it() -> None:
    found, counts = Masker(["phone"]).mask(_document("Call (212) 555-0143. 2147483647"))
    assert found.text == "T\nCall <PHONE>. 2147483647"
    assert counts == {"phone": 2}  # in the text, and in the field with the same words
    assert Masker(["phone"]).mask(found) == (found, Counter())


def test_a_title_is_masked_and_counted_once() -> None:
    found, counts = Masker(["email"]).mask(_document("Text.", title="To a@b.example"))
    assert (found.title, found.text) == ("To <EMAIL>", "To <EMAIL>\nText.")
    assert counts == {"email": 1}


_PIECES = st.one_of(
    st.sampled_from([text for pairs in FOUND.values() for text, _ in pairs]),
    st.sampled_from([*OTHERS, "The end.", "See No. 5.", "It is late"]),
)
_TEXTS = st.lists(st.lists(_PIECES, min_size=1, max_size=4).map(" ".join), min_size=2, max_size=5)


@given(_TEXTS)
def test_blocks_and_pages_move_along_and_no_mask_is_cut(texts: list[str]) -> None:
    document = _document(*texts)
    found, counts = Masker(KINDS).mask(document)
    lines = [document.text[block.start : block.end] for block in found.blocks]
    assert "\n".join(found.text[block.start : block.end] for block in found.blocks) == found.text
    assert len(lines) == len(document.blocks)
    assert [b.kind for b in found.blocks] == [b.kind for b in document.blocks]
    page = [block.start for block in document.blocks].index(document.pages[1])
    assert found.pages == (0, found.blocks[page].start)
    assert Masker(KINDS).mask(found) == (found, Counter())
    assert sum(counts.values()) == sum(found.text.count(f"<{kind.upper()}>") for kind in KINDS) + (
        sum(str(found.fields["from"]).count(f"<{kind.upper()}>") for kind in KINDS)
    )
    for chunk in split(found, ChunkingSettings(tokens=8), lambda text: len(text.split())):
        for sentence in chunk.sentences:
            quote = found.text[sentence.start : sentence.end]
            assert not re.search(r"<[A-Z_]+$|^[A-Z_]+>", quote)


def test_a_kind_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(BadInput, match=r"'e-mail'.*Known kinds: email, url"):
        Masker(["phone", "e-mail"])


def test_identities_tell_what_is_masked_apart() -> None:
    assert masker_identity([]) == ""
    assert masker_identity(["phone", "email"]) == masker_identity(["email", "phone"])
    assert masker_identity(["email"]) != masker_identity(["phone"])


def test_nothing_is_loaded_before_it_is_needed() -> None:
    program = (
        "import sys; from indexer.text.masking import Masker; Masker([]);"
        " print([name for name in ('phonenumbers', 'stdnum', 'rensa') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert said.strip() == "[]"
