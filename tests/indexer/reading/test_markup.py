"""Pages are reduced to what they say, one block per line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.reading.markdown import read_markdown, read_mdx
from indexer.reading.markup import read_html

_PAGE = """<html><head><title>Kettle | Help</title><style>p {}</style></head><body>
<header><h1>Kettles &amp; co</h1><nav>Menu</nav></header>
<main><p class="breadcrumb">Help / Kettle</p><p>It is<br>made of <b>st</b>eel.
  <script>track()</script></p>
<ul><li><p>Fill</p><ul><li>to 1&nbsp;l</li></ul></li></ul><div>Loose <p>para</p> tail</div>
<table><tr><th>Fault</th><th>Do</th></tr><tr><td><p>Hums</p><p>loudly</p></td><td>Descale</td>
</tr></table><pre>a = 1
  b = 2</pre><p hidden>no</p><form>no</form></main>
<aside>Related</aside><footer>(c) Us</footer></body></html>"""


def test_only_the_main_content_of_a_page_is_kept() -> None:
    found = read_html(_PAGE)
    assert found.title == "Kettles & co"
    assert [tuple(line) for line in found.lines] == [
        ("paragraph", 0, "It is made of steel."),
        ("item", 1, "Fill"),
        ("item", 2, "to 1 l"),
        ("paragraph", 0, "Loose"),
        ("paragraph", 0, "para"),
        ("paragraph", 0, "tail"),
        ("row", 0, "Fault | Do"),
        ("row", 0, "Hums loudly | Descale"),
        ("code", 0, "a = 1"),
        ("code", 0, "b = 2"),
    ]


def test_a_page_without_a_heading_is_named_by_its_title() -> None:
    assert read_html("<title>Tea</title><p>Hot.</p>").title == "Tea"


def test_a_table_used_for_layout_is_not_one_line() -> None:
    lines = read_html("<table><tr><td><h2>A</h2><p>One.</p></td></tr></table>").lines
    assert [(line.kind, line.text) for line in lines] == [("heading", "A"), ("paragraph", "One.")]


def test_a_page_nested_deeper_than_pythons_stack_is_read() -> None:
    lines = read_html("<div>" * 5000 + "deep" + "</div>" * 5000).lines
    assert [line.text for line in lines] == ["deep"]


def test_markdown_is_read_with_its_marks_resolved() -> None:
    text = "# Tea *time*\n\nA [link](x.md) and `code`,\nwrapped.\n\n## Do\n\n1. Boil.\n2. Pour.\n"
    found = read_markdown(text)
    assert found.title == "Tea time"
    assert [tuple(line) for line in found.lines] == [
        ("heading", 1, "Tea time"),
        ("paragraph", 0, "A link and code, wrapped."),
        ("heading", 2, "Do"),
        ("item", 1, "Boil."),
        ("item", 1, "Pour."),
    ]


def test_front_matter_gives_the_title_and_is_left_out() -> None:
    found = read_markdown('---\ntitle: "Green tea"\ntags: x\n---\nHot.\n')
    assert (found.title, [line.text for line in found.lines]) == ("Green tea", ["Hot."])
    assert found.fields == {"tags": "x"}


def test_a_text_between_two_rules_is_part_of_the_page() -> None:
    for text, kept in (
        ("---\n\nImportant.\n\n---\nMore.", ["Important.", "More."]),
        ("---\n\n---\nMore.", ["More."]),
        ("---\ntags: x\n---\nMore.", ["More."]),
    ):
        assert [line.text for line in read_markdown(text).lines] == kept


@pytest.mark.parametrize("value", ["!!bool maybe", '!!int ""', "!!timestamp soon", "!!float ''"])
def test_front_matter_with_a_value_that_is_not_what_it_says_is_still_read(value: str) -> None:
    found = read_markdown(f"---\ndraft: {value}\n---\nHot.\n")
    assert "draft" in found.fields
    assert [line.text for line in found.lines] == ["Hot."]


def test_lists_within_many_lists_are_kept() -> None:
    found = read_markdown("".join(f"{'  ' * n}- Level {n}.\n" for n in range(40)))
    assert [line.text for line in found.lines] == [f"Level {n}." for n in range(40)]


@given(st.text(alphabet="<>/abdtrlip h1\n*_#|-[]()&;\0\x1f", max_size=200))
def test_any_text_gives_clean_lines(text: str) -> None:
    for read in (read_html, read_markdown):
        for line in read(text).lines:
            assert line.text
            assert line.text == " ".join(line.text.split())


_STORY = "<p>The kettle that the town council bought last winter has boiled its last water.</p>"
_TEASER = '<div class="tease"><a href="/x">Ten kettles that you will not believe exist</a></div>'


def _news(before: str = "", after: str = "") -> str:
    story = (
        f'<div class="story"><h2>A kettle ends</h2>{_STORY * 8}<ul><li>It hummed.</li></ul></div>'
    )
    return f"<body><div>{before}</div><div><div>{story}</div></div><div>{after}</div></body>"


def test_a_page_that_marks_nothing_is_its_paragraphs_without_what_surrounds_them() -> None:
    found = read_html(_news(_TEASER * 20, "<div>Subscribe now!</div>" + _TEASER * 20))
    assert [line.text for line in found.lines[:2]] == [
        "A kettle ends",
        "The kettle that the town council bought last winter has boiled its last water.",
    ]
    assert found.lines[-1].text == "It hummed."
    assert len(found.lines) == 10


def test_a_page_with_much_outside_its_paragraphs_is_kept_whole() -> None:
    table = "<table><tr><td>Boils in four minutes</td><td>1.7 litres</td></tr></table>"
    found = read_html(_news(after=table * 12))
    assert [line.text for line in found.lines[-2:]] == ["Boils in four minutes | 1.7 litres"] * 2


def test_markdown_with_components_keeps_its_text_and_loses_its_imports() -> None:
    found = read_mdx(
        '---\ntitle: Values\n---\n\nimport Note from "/notes.mdx"\n\n<Note/>\n\nSet `a` first.\n'
        "\n```js\nimport a from 'b'\n```\n"
    )
    assert found.title == "Values"
    assert [line.text for line in found.lines] == ["Set a first.", "import a from 'b'"]
