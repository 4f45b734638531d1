"""Where personal data stands in a line, a function for each kind: spans in order, none in another.

Phone numbers are found by Google's libphonenumber, checksums verified by python-stdnum; each is
imported by the kind that needs it only.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
Finder: TypeAlias = Callable[[str], Iterator[Span]]

_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@[^\W_][\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,}")
_URL = re.compile(r"(?:\b[a-z][a-z0-9+.-]{0,20}://|\bwww\.)[^\s<>\"“”]+", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}(?![\w-])")
_SSN = re.compile(r"(?<![\w-])\d{3}-\d\d-\d{4}(?![\w-])")
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]{0,40}:[0-9a-fA-F:.]{1,40})(?![\w:]|\.\w)"
)
_TRAILING = ".,;:!?'\"’”)]}"  # noqa: RUF001
_REGIONS = ("US", "GB")
_ANNOUNCED = re.compile(  # "<PHONE>" in a masked line announces nothing
    r"(?<!<)(?:tel|phone|call|fax|mobile|cell|ring|dial)\w*[^\w+]{0,3}$", re.IGNORECASE
)


def emails(line: str) -> Iterator[Span]:
    yield from (match.span() for match in _EMAIL.finditer(line))


def urls(line: str) -> Iterator[Span]:
    """With a scheme or "www."; what ends a sentence is not the address's."""
    for match in _URL.finditer(line):
        address = match.group().rstrip(_TRAILING)
        if match.group()[len(address) :].startswith(")") and "(" in address:
            address += ")"
        yield match.start(), match.start() + len(address)


def credit_cards(line: str) -> Iterator[Span]:
    """13 to 19 digits that pass Luhn's check and begin as cards do."""
    from stdnum import luhn

    for match in _CARD.finditer(line):
        digits = re.sub(r"\D", "", match.group())
        if digits[0] in "23456" and luhn.is_valid(digits):
            yield match.span()


def ibans(line: str) -> Iterator[Span]:
    """Of the length that the country prescribes, with the right check digits."""
    from stdnum import iban

    end = 0
    while match := _IBAN.search(line, end):
        found = match.group()
        while found and not iban.is_valid(found):  # words in capitals may follow
            found = found.rpartition(" ")[0]
        end = match.start() + (len(found) or 4)  # and another number after those
        if found:
            yield match.start(), end


def us_ssns(line: str) -> Iterator[Span]:
    """US social security numbers, but for those never given out."""
    from stdnum.us import ssn

    yield from (match.span() for match in _SSN.finditer(line) if ssn.is_valid(match.group()))


def ip_addresses(line: str) -> Iterator[Span]:
    """Of versions 4 and 6; those that every machine has (127.0.0.1, ::) name nobody."""
    for match in _ADDRESS.finditer(line):
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if not (address.is_loopback or address.is_unspecified or address.is_multicast):
            yield match.span()


def phones(line: str) -> Iterator[Span]:
    """Valid numbers: of any country with "+", of the US and Great Britain as they are dialled.

    Digits alone are a number only after "tel", "call" and the like: most are no phone's.
    """
    if sum(map(str.isdigit, line)) < 7:
        return
    from phonenumbers import Leniency, PhoneNumberMatcher

    found: set[Span] = set()
    for region in _REGIONS:
        for match in PhoneNumberMatcher(line, region, Leniency.STRICT_GROUPING):
            start, end = match.start, match.end
            if line[start] == "(" and ")" not in line[start:end]:
                start += 1
            plain = line[start:end].isdigit() or "." in line[start:end]
            if not plain or _ANNOUNCED.search(line, max(0, start - 16), start):
                found.add((start, end))
    end = 0
    for span in sorted(found):
        if span[0] >= end:
            yield span
            end = span[1]
