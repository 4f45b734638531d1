"""A domain's TOML is read strictly, and what is wrong with it is said precisely."""

from pathlib import Path

import pytest

from indexer.domain import Domain, load_domain, load_domains
from indexer.errors import BadInput


def _write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domain.toml").write_text(text, encoding="utf-8")
    return folder


def test_an_empty_file_makes_a_domain_with_the_folders_name(tmp_path: Path) -> None:
    domain = load_domain(_write(tmp_path / "legal", ""))
    assert (domain.name, domain.folder) == ("legal", tmp_path / "legal")
    assert domain.embedder.name == "all-MiniLM-L6-v2"
    assert (domain.chunking.tokens, domain.retrieval.passages) == (96, 4)


def test_the_file_itself_can_be_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "x", 'name = "legal"\nadapter = "legal-style@2"\n')
    domain = load_domain(folder / "domain.toml")
    assert (domain.name, domain.adapter) == ("legal", "legal-style@2")


def test_a_domain_cannot_be_changed(tmp_path: Path) -> None:
    domain = load_domain(_write(tmp_path / "legal", ""))
    with pytest.raises(ValueError, match="frozen"):
        domain.title = "other"


def test_the_folder_is_no_part_of_what_is_written_out() -> None:
    assert "folder" not in Domain(name="a", folder=Path("/x")).model_dump()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[anser]\n", r"unknown key `anser`.*`answer`"),
        ("[answer]\nmod = 1\n", r"unknown key `answer\.mod`.*Did you mean `mode`\?.*max_tokens"),
        ("folder = 'x'\n", r"unknown key `folder`"),
        ("[answer]\nmode = 'fast'\n", r"`answer\.mode` = 'fast'.*'generate', 'verbatim'"),
        ("[retrieval]\npassages = '4'\n", r"`retrieval\.passages` = '4'.*integer"),
        ("[retrieval]\nmin_passage_score = 2\n", r"`retrieval\.min_passage_score` = 2"),
        ("[documents]\npaths = [3]\n", r"`documents\.paths\.0` = 3"),
        ("[documents]\npaths = []\n", r"`documents\.paths` = \[\]"),
        ("documents = 'docs'\n", r"`documents` = 'docs'"),
        ("name = 'Legal'\n", r"`name` = 'Legal'.*lower-case"),
        ("name = 'base'\n", r"`name` = 'base'.*not 'base'"),
        ("name = \n", r"not valid TOML.*line 1"),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    folder = _write(tmp_path / "legal", text)
    with pytest.raises(BadInput, match=rf"legal/domain\.toml.*{expected}"):
        load_domain(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere/domain\.toml"):
        load_domain(tmp_path / "nowhere")


def test_bytes_that_are_not_text_are_not_toml(tmp_path: Path) -> None:
    folder = _write(tmp_path / "legal", "")
    (folder / "domain.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(BadInput, match="not valid TOML"):
        load_domain(folder)


def test_all_domains_are_found_by_name(tmp_path: Path) -> None:
    for name in ("support", "legal"):
        _write(tmp_path / name, "")
    (tmp_path / "unrelated").mkdir()
    assert list(load_domains(tmp_path)) == ["legal", "support"]


def test_two_domains_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write(tmp_path / name, 'name = "legal"\n')
    with pytest.raises(BadInput, match=r"b/domain\.toml.*'legal'.*a/domain\.toml"):
        load_domains(tmp_path)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing-here"):
        load_domains(tmp_path / "nothing-here")
