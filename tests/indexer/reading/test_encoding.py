"""Text in any common encoding is text; what is binary is refused."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.reading.encoding import decode
from indexer.reading.rules import Refused
from tests.indexer.reading.reads import one

_ENGLISH = "The kettle holds 1.7 litres. It boils in four minutes.\r\n" * 4
_GERMAN = "Größe und Maß: die Tür öffnet sich nach außen. Über die Straße führt kein Weg. " * 4
_RUSSIAN = "Чайник вмещает полтора литра воды и закипает за четыре минуты. " * 4
_JAPANESE = "やかんには水が一リットル半入り、四分で沸騰します。毎月掃除してください。" * 4
_CHINESE = "水壶可以装一升半的水 四分钟就能烧开。请每个月清洗一次水垢。" * 4
_TAIWANESE = "水壺可以裝一升半的水。四分鐘就能燒開。請每個月清洗一次水垢。" * 4
_FRENCH = (
    "L'été dernier, la bouilloire où l'eau a été chauffée était déjà abîmée; ça coûte cher. " * 4
)
_GREEK = "Ο βραστήρας χωράει ενάμισι λίτρο νερό και βράζει σε τέσσερα λεπτά. " * 4  # noqa: RUF001
_KOREAN = "주전자는 물 일점오 리터를 담고 사 분 만에 끓는다. 매달 청소하십시오. " * 4
_POLISH = "Zażółć gęślą jaźń. Czajnik mieści półtora litra wody i wrze po czterech minutach. " * 4


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (_ENGLISH, "utf-16-le"),
        (_ENGLISH, "utf-16-be"),
        (_GERMAN, "cp1252"),
        (_RUSSIAN, "cp1251"),
        (_RUSSIAN, "koi8-r"),
        (_JAPANESE, "shift_jis"),
        (_JAPANESE, "euc-jp"),
        (_CHINESE, "gb18030"),
        (_TAIWANESE, "big5"),
        (_FRENCH, "cp1252"),
        (_GREEK, "cp1253"),
        (_KOREAN, "euc-kr"),
        (_POLISH, "cp1250"),
        (_POLISH, "iso8859-2"),
        (_GERMAN, "utf-16-le"),
        (_GERMAN, "utf-16-be"),
        (_GERMAN, "utf-16"),
        (_GERMAN, "utf-32"),
        (_GERMAN, "utf-8-sig"),
    ],
)
def test_common_encodings_are_told_apart(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding))[0] == text


def test_the_encoding_taken_is_a_field_unless_it_is_the_usual_one() -> None:
    found = one("a.txt", _RUSSIAN.encode("cp1251"))
    assert codecs.lookup(str(found.fields["encoding"])).name == "cp1251"
    assert one("a.txt", _RUSSIAN.encode()).fields == {}


def test_a_page_says_which_encoding_it_is_in() -> None:
    page = b'<html><head><meta charset="windows-1252"></head><body><p>Caf\xe9.</p></body></html>'
    assert one("a.html", page).text.endswith("Café.")


def test_a_few_broken_bytes_do_not_make_a_text_another() -> None:
    content = _RUSSIAN.encode()
    text, encoding = decode(content[:100] + b"\xff" + content[100:])
    assert (encoding, text.count("\ufffd")) == ("utf-8", 1)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(range(256)) * 8, b"MZ\x90\0\3" + b"\0" * 60]
)
def test_what_is_binary_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="is not text"):
        decode(content)


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    try:
        text, encoding = decode(content)
    except Refused:
        return
    assert "\0" not in text
    assert codecs.lookup(encoding)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_utf8_is_never_taken_for_anything_else(text: str) -> None:
    content = text.encode()
    try:
        found, encoding = decode(content)
    except Refused:
        return  # nothing but control characters
    assert encoding in ("utf-8", "utf-16", "utf-32")
    assert found.encode(encoding if encoding == "utf-8" else "utf-8") or not content
