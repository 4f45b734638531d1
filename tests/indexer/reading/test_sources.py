"""Good files become documents, bad ones are named with a reason, and none stops the others."""

import json
from pathlib import Path

import pytest

from indexer.domain import Domain, load_domain
from indexer.errors import BadInput
from indexer.reading.sources import read_demonstrations, read_documents
from indexer.records import Document, Rejected


def _read(folder: Path) -> dict[str, Document | Rejected]:
    return {source.path: source for source in read_documents(load_domain(folder))}


def _reason(folder: Path, path: str) -> str:
    source = _read(folder)[path]
    assert isinstance(source, Rejected)
    return source.reason


def test_documents_come_by_path_with_title_text_and_blocks(domain: Domain) -> None:
    documents = [source for source in read_documents(domain) if isinstance(source, Document)]
    assert [(d.path, d.title) for d in documents] == [
        ("kettle.md", "The kettle"),
        ("notes/fridge.txt", "THE FRIDGE"),
        ("toaster.html", "The toaster"),
    ]
    assert documents[2].text == "The toaster\nCrumbs fall into a tray. Empty the tray each week."
    for document in documents:
        lines = [document.text[block.start : block.end] for block in document.blocks]
        assert "\n".join(lines) == document.text


def test_ids_follow_the_content(folder: Path) -> None:
    before = _read(folder)
    file = folder / "documents" / "toaster.html"
    file.write_text(file.read_text(encoding="utf-8").replace("week", "day"), encoding="utf-8")
    after = _read(folder)
    assert before["kettle.md"] == after["kettle.md"]
    changed, was = after["toaster.html"], before["toaster.html"]
    assert isinstance(changed, Document)
    assert isinstance(was, Document)
    assert changed.id != was.id
    assert changed.sha256 != was.sha256


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("noise.txt", bytes(range(1, 32)) * 40, "not text"),
        ("nul.txt", b"a\0b", "NUL"),
        ("photo.png", b"\x89PNG", "of no kind"),
        ("empty.md", b"", "is empty"),
        ("title.md", b"# Only a title\n", "holds no text"),
    ],
)
def test_a_file_that_is_no_text_is_rejected(
    folder: Path, name: str, content: bytes, reason: str
) -> None:
    (folder / "documents" / name).write_bytes(content)
    assert reason in _reason(folder, name)
    assert isinstance(_read(folder)["kettle.md"], Document)


def test_a_huge_file_is_rejected_unread(folder: Path) -> None:
    with (folder / "documents" / "huge.txt").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    assert "64 MiB" in _reason(folder, "huge.txt")


def test_a_name_that_is_not_text_is_rejected(folder: Path) -> None:
    (folder / "documents" / "a\udcff.txt").write_text("x.", encoding="utf-8")
    assert "name" in _reason(folder, "a\\udcff.txt")


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("secret text.", encoding="utf-8")
    documents = folder / "documents"
    (documents / "file.txt").symlink_to(secret / "key.txt")
    (documents / "dir").symlink_to(secret)
    (documents / "broken.txt").symlink_to(secret / "gone")
    (documents / "inside.md").symlink_to(documents / "kettle.md")
    assert "link" in _reason(folder, "file.txt")
    assert "link" in _reason(folder, "dir")
    assert "link" in _reason(folder, "broken.txt")
    assert isinstance(_read(folder)["inside.md"], Document)
    assert not any("key" in path for path in _read(folder))


def test_hidden_files_are_left_alone(folder: Path) -> None:
    (folder / "documents" / ".cache").mkdir()
    (folder / "documents" / ".cache" / "x.md").write_text("x.", encoding="utf-8")
    (folder / "documents" / ".DS_Store").write_bytes(b"\0")
    assert len(_read(folder)) == 3


def test_a_byte_order_mark_and_invisible_characters_are_no_text(folder: Path) -> None:
    file = folder / "documents" / "bom.txt"
    file.write_text("\ufeffCof\u00adfee\u200b  is\u00a0hot.\n", encoding="utf-8")
    document = _read(folder)["bom.txt"]
    assert isinstance(document, Document)
    assert document.text == "Bom\nCoffee is hot."


def test_jsonl_holds_a_document_per_line_and_bad_lines_are_named(folder: Path) -> None:
    rows = ['{"id": "a", "title": "Tea", "text": "Hot."}', "{", '{"id": 3, "text": {}}', "", "[]"]
    (folder / "documents" / "faq.jsonl").write_text("\n".join(rows), encoding="utf-8")
    found = _read(folder)
    document = found["faq.jsonl/a"]
    assert isinstance(document, Document)
    assert (document.title, document.text) == ("Tea", "Tea\nHot.")
    assert '"text" is not a text' in _reason(folder, "faq.jsonl:3")
    assert {"faq.jsonl:2", "faq.jsonl:5"} <= found.keys()


def test_a_second_document_of_a_path_is_rejected(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "kettle.md").write_text("Other.", encoding="utf-8")
    (folder / "domain.toml").write_text(
        '[documents]\npaths = ["documents", "more", "more/kettle.md"]\n', encoding="utf-8"
    )
    sources = list(read_documents(load_domain(folder)))
    assert [s for s in sources if isinstance(s, Rejected)] == [
        Rejected("kettle.md", "another document has this path"),
        Rejected("kettle.md", "another document has this path"),
    ]


def test_an_empty_folder_is_bad_input(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "domain.toml").write_text('[documents]\npaths = ["empty"]\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"no documents in .*empty.*\.md"):
        _read(folder)


def test_a_missing_folder_is_bad_input(folder: Path) -> None:
    (folder / "domain.toml").write_text('[documents]\npaths = ["docs"]\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"docs does not exist.*documents\.paths"):
        _read(folder)


def _chat(question: str, answer: str, **more: str) -> str:
    turns = [("system", "s"), ("user", "old"), ("assistant", "old"), ("user", question)]
    messages = [{"role": r, "content": c} for r, c in [*turns, ("assistant", answer)]]
    return json.dumps({"messages": messages, **more})


def test_a_demonstration_is_the_last_question_and_answer(folder: Path) -> None:
    text = "\n".join([_chat("Q", "A", id="x", group="g"), "", _chat("R", "B"), _chat("R", "B")])
    (folder / "demonstrations.jsonl").write_text(text, encoding="utf-8")
    first, second = read_demonstrations(load_domain(folder))
    assert (first.id, first.question, first.answer, first.group) == ("x", "Q", "A", "g")
    assert (second.question, second.answer, second.group, len(second.id)) == ("R", "B", "", 16)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "messages"),
        ('{"messages": 3}', "messages"),
        ('{"messages": [{"role": "user", "content": "q"}]}', "no assistant message"),
        (_chat("Q", " "), 'last assistant message has an empty "content"'),
        ('{"messages": [{"role": "user", "content": 3}]}', '"content" = 3'),
        (_chat("Q", "other", id="x"), "'x' is also"),
    ],
)
def test_a_bad_demonstration_is_named_by_file_and_line(
    folder: Path, line: str, reason: str
) -> None:
    text = _chat("Q", "A", id="x") + "\n" + line
    (folder / "demonstrations.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=rf"demonstrations\.jsonl:2: .*{reason}"):
        read_demonstrations(load_domain(folder))


def test_only_a_demonstration_file_that_is_named_has_to_exist(folder: Path) -> None:
    (folder / "demonstrations.jsonl").unlink()
    assert read_demonstrations(load_domain(folder)) == []
    text = '[demonstrations]\npaths = ["examples.jsonl"]\n'
    (folder / "domain.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"examples\.jsonl: No such file"):
        read_demonstrations(load_domain(folder))
