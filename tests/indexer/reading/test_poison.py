"""What is broken, hostile or absurd is named and costs nothing but itself."""

import io
import os
import threading
import zipfile
from pathlib import Path

import pytest

from indexer.domain import load_domain
from indexer.reading import door
from indexer.reading.layout import Extract
from indexer.reading.reader import ReaderPool, Reading
from indexer.reading.sources import scan
from indexer.reading.walk import SourceFile
from indexer.records import Rejected
from tests.indexer.reading.files import archive, cell, docx, paragraph, pdf, pptx, xlsx
from tests.indexer.reading.reads import one, read, reason, rules

_LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)


def _bomb(size: int) -> dict[str, str]:
    return {"word/filling.xml": " " * size}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("cut.pdf", pdf([[(12, 72, 700, "It boils.")]])[:40], "damaged"),
        ("cut.docx", docx()[:-200], "damaged"),
        ("cut.xlsx", xlsx()[:300], "damaged"),
        ("cut.zip", archive({"a.md": "x"})[:60], "damaged"),
        ("bomb.docx", docx(more=_bomb(9 * 1024 * 1024)), "unpacks to more than"),
        ("bomb.zip", archive({"a.txt": b"0" * 9 * 1024 * 1024}), "unpacks to more than"),
        ("laughs.docx", docx(paragraph("&i;"), _LAUGHS), "entities"),
        ("laughs.xlsx", xlsx(f'<row r="1">{cell("A1", "&i;")}</row>', _LAUGHS), "entities"),
        ("nested.json", b"[" * 200 + b"]" * 200, "nests deeper than 100 levels"),
        ("abyss.json", b"[" * 100_000 + b"]" * 100_000, "nests deeper than 100 levels"),
        ("nul.txt", b"a\0b", "NUL"),
        ("nul.csv", b"a,b\n\0,1\n", "NUL"),
        ("empty.docx", b"", "is empty"),
        ("empty.md", b"", "is empty"),
        ("wide.csv", b"a," * 1_000_000 + b"\n", "columns"),
        ("not.docx", b"plain words", "not what its name says"),
        ("other.docx", archive({"a.bin": b"x"}), ""),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, ""),
        ("no.eml", b"\n\n", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, expected: str) -> None:
    found = read(name, content, rules(expanded_mb=8))
    assert found
    assert all(isinstance(one, Rejected) for one in found)
    assert expected in getattr(found[0], "reason", "")


def test_an_archive_that_lies_about_its_size_is_refused() -> None:
    content = bytearray(docx(more=_bomb(9 * 1024 * 1024)))
    true = (9 * 1024 * 1024).to_bytes(4, "little")
    assert content.count(true) >= 1
    lying = bytes(content.replace(true, (1024).to_bytes(4, "little")))
    assert "damaged" in reason("a.docx", lying, rules(expanded_mb=8))


def test_an_archive_of_archives_counts_each_against_its_limit() -> None:
    inner = archive({"a.txt": b"0" * 7 * 1024 * 1024})
    assert "unpacks" in reason("a.zip", archive({"b.bin": b"0" * 9_000_000}), rules(expanded_mb=8))
    found = read("a.zip", archive({"a.zip": inner, "b.zip": inner}), rules(expanded_mb=8))
    assert any("unpacks" in getattr(one, "reason", "") for one in found)


def test_nested_elements_are_read_or_refused_at_once() -> None:
    for depth, expected in ((8_000, "Deep\ndeep"), (100_000, "nests deeper than")):
        page = "<div>" * depth + "deep" + "</div>" * depth
        (found,) = read("deep.html", page.encode())
        assert expected in (found.reason if isinstance(found, Rejected) else found.text)


def test_a_huge_cell_is_one_line() -> None:
    text = "word " * 200_000
    found = one("a.csv", f'Name,Note\nAnn,"{text}"\n'.encode())
    assert found.text.splitlines()[1:] == [f"Name: Ann | Note: {text.strip()}"]


def test_one_path_is_given_once() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("a.md", "Hot.")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.md", "Cold.")
    first, second = read("a.zip", held.getvalue())
    assert not isinstance(first, Rejected)
    assert isinstance(second, Rejected)


def test_names_within_an_archive_stay_names() -> None:
    found = read("a.zip", archive({"../../etc/passwd.txt": "root", "a\nb.md": "Hot."}))
    assert {one.path for one in found if not isinstance(one, Rejected)} <= {
        "a.zip/../../etc/passwd.txt"
    }


def test_a_mistake_about_one_file_costs_none_of_those_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken(text: str) -> Extract:
        raise KeyError(text)

    monkeypatch.setitem(door._PAGES, "text", mistaken)
    files = archive({"a.md": "Hot.", "b.txt": "x", "c.md": "Cold."})
    assert [found.path for found in read("a.zip", files)] == [
        "a.zip/a.md",
        "a.zip/b.txt",
        "a.zip/c.md",
    ]
    mails = b"From a@b.c Fri May  3 10:10:00 2024\nSubject: Tea\n\nHot.\n\n" * 2
    with monkeypatch.context() as patch:
        patch.setattr(door, "parse_mail", mistaken)
        assert read("a.mbox", mails) == [
            Rejected(f"a.mbox/{number}.eml", "cannot be read: KeyError") for number in (1, 2)
        ]


def test_memory_that_runs_out_within_an_archive_ends_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def greedy(text: str) -> Extract:
        raise MemoryError

    monkeypatch.setitem(door._PAGES, "text", greedy)
    with pytest.raises(MemoryError):
        read("a.zip", archive({"a.txt": "x"}))


def test_a_file_without_a_suffix_may_speak_of_another_kind() -> None:
    assert one("NOTES", b"A file that begins with %PDF-1.7 is a PDF.\n").text.startswith("NOTES\n")
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("a.pdf", pdf([[(12, 72, 700, "It boils.")]]))
    assert "It boils." in one("all", held.getvalue()).text


def test_an_entry_packed_in_a_way_that_is_damaged_costs_only_itself() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.md", "Hot.")
        file.writestr("b.md", "Cold.")
    content = bytearray(held.getvalue())
    settings = content.index(b"a.md") + len("a.md") + 4
    content[settings] = 0xFF
    first, second = read("a.zip", bytes(content))
    assert isinstance(first, Rejected)
    assert "damaged" in first.reason
    assert not isinstance(second, Rejected)


def _files(folder: Path) -> list[SourceFile]:
    found = list(scan(load_domain(folder)))
    return [one for one in found if isinstance(one, SourceFile)]


def _readings(folder: Path, files: list[SourceFile]) -> dict[str, Reading]:
    with ReaderPool(load_domain(folder), processes=1) as pool:
        return {reading.source.path: reading for reading in pool.read(files)}


def _swap(folder: Path, name: str, kind: str) -> None:
    file = folder / "documents" / name
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to("/etc/hostname")
    elif kind == "folder":
        file.mkdir()


@pytest.mark.parametrize("kind", ["gone", "pipe", "link", "folder"])
def test_a_file_that_is_another_when_it_is_read_is_rejected(folder: Path, kind: str) -> None:
    files = _files(folder)
    _swap(folder, "kettle.md", kind)
    found = _readings(folder, files)
    assert found["kettle.md"].documents == []
    assert found["kettle.md"].rejected
    assert len(found["toaster.html"].documents) == 1


def test_a_folder_that_became_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    files = _files(folder)
    (folder / "documents" / "notes").rename(tmp_path / "elsewhere")
    (folder / "documents" / "notes").symlink_to(tmp_path / "elsewhere")
    found = _readings(folder, files)["notes/fridge.txt"]
    assert "not the file any more" in found.rejected[0].reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(folder: Path) -> None:
    (folder / "documents" / "kettle.md").chmod(0)
    found = _readings(folder, _files(folder))
    assert "Permission denied" in found["kettle.md"].rejected[0].reason


def test_nothing_is_ever_fetched(folder: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        _write_callers(folder / "documents", url)
        seen: list[object] = []
        server.settimeout(0.2)
        found = _readings(folder, _files(folder))
        thread = threading.Thread(target=_accept, args=(server, seen))
        thread.start()
        thread.join()
    assert seen == []
    assert len(found) == 3 + 6
    assert found["page.html"].documents


def _accept(server: "object", seen: list[object]) -> None:
    try:
        seen.append(server.accept())  # type: ignore[attr-defined]
    except TimeoutError:
        return


def _write_callers(documents: Path, url: str) -> None:
    """Files that ask for something from elsewhere, each in its own way."""
    relation = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        f'relationships/{{}}" TargetMode="External" Target="{url}"/></Relationships>'
    )
    template = relation.format("attachedTemplate")
    external = f'<!DOCTYPE r [<!ENTITY x SYSTEM "{url}">]>'
    page = (
        f'<html><head><link rel="stylesheet" href="{url}"><base href="{url}"></head><body>'
        f'<img src="{url}"><iframe src="{url}"></iframe><p>Hot.</p></body></html>'
    )
    files = {
        "page.html": page.encode(),
        "note.md": f"![x]({url})\n\nHot.\n".encode(),
        "template.docx": docx(more={"word/_rels/settings.xml.rels": template}),
        "entity.docx": docx(paragraph("&x;"), external),
        "slides.pptx": pptx([("First", ["One"])], relation.format("image")),
        "page.pdf": pdf([[(12, 72, 700, "Hot.")]], f"/URI ({url})"),
    }
    for name, content in files.items():
        (documents / name).write_bytes(content)
