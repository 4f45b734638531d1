"""BM25 finds what shares rare words, as bm25s scores it, from files that are always the same."""

import hashlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bm25s
import numpy as np
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import StoreError
from indexer.index import lexical_build
from indexer.index.lexical import FILES, LexicalIndex, build
from indexer.index.lexical_words import Stems, words

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    "The kettle is descaled with citric acid every month.",
    "Descaling a kettle: kettle first, then acid.",
    "The toaster has a crumb tray.",
    "",
    "Der Kühlschrank steht auf vier Grad.",
    "The fridge alarm rings after two minutes.",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(lambda: TEXTS, tmp_path / "bm25")
    return tmp_path / "bm25"


@pytest.fixture
def index(folder: Path) -> LexicalIndex:
    return LexicalIndex.load(folder)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_rows_that_share_words_come_best_first(index: LexicalIndex) -> None:
    scores, rows = index.search("How do I descale kettles?", 10)
    assert rows.tolist() == [1, 0]
    assert scores[0] > scores[1] > 0
    assert (index.count, str(rows.dtype), str(scores.dtype)) == (6, "int64", "float32")


def test_at_most_k_and_nothing_without_a_common_word(index: LexicalIndex) -> None:
    assert index.search("kettle", 1)[1].tolist() == [1]
    for nothing in ("dishwasher", "the and of", "", "?!"):
        assert index.search(nothing, 3)[1].tolist() == []
    assert index.search("kettle", 0)[1].tolist() == []


def test_only_allowed_rows_and_never_excluded_ones(index: LexicalIndex) -> None:
    text = "kettle acid toaster fridge"
    every = set(index.search(text, 10)[1].tolist())
    assert every == {0, 1, 2, 5}
    found = index.search(text, 10, allowed=np.array([0, 2, 3]))[1]
    assert set(found.tolist()) == {0, 2}
    found = index.search(text, 10, excluded=np.array([1, 2]))[1]
    assert set(found.tolist()) == {0, 5}
    found = index.search(text, 10, allowed=np.array([0, 1]), excluded=np.array([1]))[1]
    assert found.tolist() == [0]
    assert index.search(text, 10, allowed=np.array([], dtype=np.int64))[1].tolist() == []


def test_the_scores_of_some_rows_are_those_of_a_search(index: LexicalIndex) -> None:
    text = "kettle acid kettle fridge"
    scores, rows = index.search(text, 10)
    found = dict(zip(rows.tolist(), scores.tolist(), strict=True))
    asked = index.scored(text).of(np.array([5, 0, 3, 1]))
    assert asked.tolist() == pytest.approx([found[5], found[0], 0.0, found[1]])
    assert index.scored("nothing shared").of(np.array([1, 2])).tolist() == [0.0, 0.0]
    without = index.scored(text, excluded=np.array([5])).of(np.array([5, 0]))
    assert without.tolist() == pytest.approx([0.0, found[0]])


def test_scores_are_those_of_bm25s() -> None:
    chosen = np.random.default_rng(1)
    vocabulary = "kettle boils descaling acids running quickly alarm trays crumbs minutes".split()
    texts = [" ".join(chosen.choice(vocabulary, size=n)) for n in chosen.integers(1, 40, 200)]
    stemmer = Stemmer.Stemmer("english")
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
    peer.index(tokens, show_progress=False)
    index = _built(texts)
    for question in ("boiling kettle", "acids run quick", "the alarms of minutes and trays"):
        asked = bm25s.tokenize(question, stopwords="en", stemmer=stemmer, show_progress=False)
        _, expected = peer.retrieve(asked, k=20, show_progress=False)
        assert index.search(question, 20)[0] == pytest.approx(expected[0], rel=1e-5)


@given(st.lists(st.text(alphabet="abcd é中文ア ", max_size=30), max_size=25), st.integers(1, 8))
def test_the_best_are_those_of_scoring_every_row(texts: list[str], k: int) -> None:
    index = _built(texts)
    question = "ab cd aa 中文 éé ab"
    scores, rows = index.search(question, k)
    every, order = index.search(question, len(texts) + 1)
    assert rows.tolist() == order[:k].tolist()
    assert scores.tolist() == every[:k].tolist()
    assert sorted(zip((-every).tolist(), order.tolist(), strict=True)) == list(
        zip((-every).tolist(), order.tolist(), strict=True)
    )


def test_the_order_of_groups_and_blocks_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lexical_build, "_BLOCK", 3)
    monkeypatch.setattr(lexical_build, "_GROUP", 2)
    monkeypatch.setattr(lexical_build, "_SURFACES", 2)
    build(lambda: TEXTS, tmp_path / "again")
    assert _digests(tmp_path / "again") == _digests(folder)


def test_another_process_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from indexer.index.lexical import build;"
        f"build(lambda: {TEXTS!r}, Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "child"], check=True, cwd=ROOT, env=environment
    )
    assert _digests(tmp_path / "child") == _digests(folder)
    assert set(_digests(folder)) == set(FILES)


def test_words_of_any_script_are_found(tmp_path: Path) -> None:
    index = _built(["Der Kühlschrank ist kalt", "東京都の天気は晴れ", "Привет, мир", "Ca²⁺ ﬁnds"])
    assert index.search("KÜHLSCHRANK", 5)[1].tolist() == [0]
    assert index.search("Ku\u0308hlschrank", 5)[1].tolist() == [0]  # the same letter, decomposed
    assert index.search("天気", 5)[1].tolist() == [1]
    assert index.search("мир", 5)[1].tolist() == [2]
    assert index.search("ca2 finds", 5)[1].tolist() == [3]


def test_words_are_lower_case_and_of_two_characters() -> None:
    assert list(words("A B12 x-Ray's, wi-fi2!")) == ["b12", "ray", "wi", "fi2"]
    assert list(words("USB接続abc")) == ["usb", "接続", "abc"]
    assert Stems().of("The running kettles are not for boiling") == ["run", "kettl", "boil"]


def test_many_threads_search_at_once(index: LexicalIndex) -> None:
    expected = index.search("kettle acid", 3)[1].tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: index.search("kettle acid", 3)[1].tolist(), range(400)))
    assert all(rows == expected for rows in found)


def test_no_texts_make_an_index_that_finds_nothing() -> None:
    for texts in ([], ["", "the"]):
        index = _built(texts)
        index.check()
        assert index.count == len(texts)
        assert index.search("kettle", 3)[1].tolist() == []


def test_what_was_not_written_whole_is_refused(folder: Path) -> None:
    whole = (folder / "rows.npy").read_bytes()
    (folder / "rows.npy").write_bytes(whole[:-4])
    with pytest.raises(StoreError, match=r"rows\.npy"):
        LexicalIndex.load(folder)
    (folder / "rows.npy").unlink()
    with pytest.raises(StoreError, match=r"rows\.npy"):
        LexicalIndex.load(folder)
    (folder / "rows.npy").write_bytes((folder / "words.npy").read_bytes())
    with pytest.raises(StoreError, match="holds uint64"):
        LexicalIndex.load(folder)
    np.save(folder / "rows.npy", np.zeros(1, dtype=np.int32))
    with pytest.raises(StoreError, match="do not belong together"):
        LexicalIndex.load(folder)
    (folder / "lexical.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(StoreError, match="format 99"):
        LexicalIndex.load(folder)
    (folder / "lexical.json").write_text("nothing", encoding="utf-8")
    with pytest.raises(StoreError, match=r"lexical\.json is not"):
        LexicalIndex.load(folder)


def test_a_row_that_does_not_exist_is_found_by_the_check(folder: Path) -> None:
    rows = np.load(folder / "rows.npy")
    rows[0] = 99
    np.save(folder / "rows.npy", rows)
    with pytest.raises(StoreError, match="do not exist"):
        LexicalIndex.load(folder).check()


def test_a_place_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="Cannot use"):
        build(lambda: TEXTS, tmp_path / "file" / "bm25")


def _built(texts: list[str]) -> LexicalIndex:
    """In a folder that goes at once: the files stay readable while they are mapped."""
    with tempfile.TemporaryDirectory() as folder:
        build(lambda: texts, Path(folder))
        return LexicalIndex.load(Path(folder))
