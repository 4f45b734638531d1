"""The loaders' measurement: what is like what, and what it says of files over their limits."""

import json
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from eval.likeness import in_common, words
from eval.loaders import Outcome, file_grid, kind_grid, loaders, measure
from indexer.errors import BadInput

_REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def _folder(tmp_path: Path) -> Path:
    files = tmp_path / "loader_files"
    files.mkdir()
    (files / "a.md").write_text("# Tea\n\nHot *tea*.\n", encoding="utf-8")
    (files / "a.md.expected.md").write_text("# Tea\n\nHot tea.", encoding="utf-8")
    (files / "b.csv").write_text("Name,Age\nAnn,4\nBo,5\n", encoding="utf-8")
    (files / "b.md").write_text("| Name | Age |\n| - | - |\n| Ann | 4 |\n| Bo | 5 |", "utf-8")
    (files / "c.bin").write_bytes(b"\0")
    rows = [
        {"file": "a.md", "expected": "a.md.expected.md"},
        {"file": "b.csv", "expected": "b.md"},
        {"file": "c.bin"},
        {"file": "gone.pdf"},
    ]
    manifest = "\n".join(json.dumps(row) for row in rows)
    (files / "manifest.jsonl").write_text(manifest, encoding="utf-8")
    return tmp_path


def test_every_file_of_the_manifest_is_measured(tmp_path: Path) -> None:
    first, second, third = measure(_folder(tmp_path))
    assert (first.path, first.similar, first.found) == ("a.md", 1.0, 1.0)
    assert (second.path, second.similar) == ("b.csv", 1.0)
    assert set(first.others) >= {"kreuzberg"}
    assert (third.path, third.characters, third.similar) == ("c.bin", 0, None)
    assert "of no kind" in third.reason
    grid = kind_grid([first, second, third])
    assert [row[0] for row in grid.rows] == [".bin", ".csv", ".md", "all"]
    assert len(file_grid([first, second, third]).rows) == 3


def test_the_command_writes_what_it_measured(tmp_path: Path) -> None:
    output = tmp_path / "loaders.json"
    loaders(_folder(tmp_path), output)
    assert [row["path"] for row in json.loads(output.read_text("utf-8"))["loaders"]] == [
        "a.md",
        "b.csv",
        "c.bin",
    ]


def test_a_file_over_its_limits_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Outcome("a.pdf", ".pdf", 0, 0, "a.pdf: takes longer than 60 s to read", 60.0, 90)
    monkeypatch.setattr("eval.loaders.measure", lambda folder: [over])
    with pytest.raises(typer.Exit) as raised:
        loaders(tmp_path)
    assert raised.value.exit_code == 1


def test_a_folder_without_the_files_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"manifest\.jsonl.*Check --data"):
        measure(tmp_path)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_words_in_common_are_the_longest_subsequence(one: list[str], other: list[str]) -> None:
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            same = lengths[i][j] + 1 if a == b else 0
            lengths[i + 1][j + 1] = max(same, lengths[i][j + 1], lengths[i + 1][j])
    assert in_common(one, other) == lengths[-1][-1]


def test_words_are_without_marks() -> None:
    assert words("# A [link](x.md) &amp; `co_de` <b>Bold</b><!-- no -->") == (
        ["a", "link", "co", "de", "bold"]
    )


@pytest.mark.slow
@pytest.mark.skipif(not (_REAL / "loader_files").exists(), reason="no ../shared/data/loader_files")
def test_every_real_file_yields_its_text_or_a_reason_within_its_limits() -> None:
    outcomes = measure(_REAL)
    assert len(outcomes) > 200
    assert all(outcome.characters or outcome.reason for outcome in outcomes)
    assert not [outcome.path for outcome in outcomes if outcome.over]
    judged = [o.similar for o in outcomes if o.similar is not None]
    assert sum(judged) / len(judged) > 0.92
