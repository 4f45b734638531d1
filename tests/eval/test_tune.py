"""Settings are proposed where the domain's own questions show a difference, and only there."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.lookup import Lookup
from adapters.pins import EmbedderPin
from adapters.release import Release
from eval.tune import _show, examine
from eval.tune_cases import Case, Cases
from eval.tune_measure import Measured, modes, refinements
from eval.tune_propose import Best, calibrate, changes, choose, compare, too_few
from eval.tune_refusing import best_cosines, refusals
from eval.tune_write import toml_lines, write_settings
from indexer.domain import Domain, EmbedderSettings, RetrievalSettings, load_domain
from indexer.errors import BadInput
from indexer.records import Demonstration
from indexer.search.retriever import Retriever
from indexer.store.snapshot import open_snapshot
from tests.indexer.hash_embedder import HashEmbedder
from tests.indexer.search.shelf import Shelf, document

PRESENT = RetrievalSettings(passages=3)


def _measured(found: Sequence[bool], name: str = "x", characters: float = 100) -> Measured:
    ranks = tuple(float(one) for one in found)
    return Measured(name, PRESENT, tuple(found), ranks, 1.0, characters)


def test_what_finds_significantly_more_is_chosen() -> None:
    present = _measured([True] * 10 + [False] * 20, "present")
    same = _measured([True] * 10 + [False] * 20, "same")
    more = _measured([True] * 30, "more")
    most_words = replace(more, name="long", characters=900.0)
    found = compare([present, same, most_words, more])
    assert [one.better for one in found] == [False, True, True]
    chosen = choose(found)
    assert chosen is not None
    assert chosen.measured.name == "more"
    assert choose(compare([present, same])) is None


def test_a_few_cases_more_prove_nothing() -> None:
    present = _measured([True] * 26 + [False] * 4, "present")
    better = _measured([True] * 30, "more")
    assert choose(compare([present, better])) is None


def test_what_finds_as_much_but_higher_up_is_better_and_lower_down_is_not() -> None:
    present = replace(_measured([True] * 30, "present"), ranks=(0.5,) * 30)
    higher = replace(_measured([True] * 30, "higher"), ranks=(1.0,) * 30)
    assert [one.better for one in compare([present, higher])] == [True]
    assert [one.better for one in compare([higher, present])] == [False]
    longer = replace(higher, characters=300.0)
    assert [one.better for one in compare([present, longer])] == [False]


def test_too_few_cases_say_how_many_are_needed() -> None:
    assert "19 cases are too few" in too_few(19)
    assert "about 155" in too_few(3)
    assert too_few(20) == ""


def test_modes_and_refinements_change_one_thing_and_never_nothing() -> None:
    assert [one.name for one in modes(PRESENT)] == ["lexical", "hybrid rrf", "hybrid minmax"]
    tried = list(refinements(_measured([True], "lexical")))
    assert all(one.settings != PRESENT for one in tried)
    assert "lexical, passages 3" not in [one.name for one in tried]
    assert changes(PRESENT, tried[0].settings) == {"diversity": 0.3}


def test_a_threshold_that_tells_both_kinds_apart_is_proposed() -> None:
    kept = [0.6 + n / 1000 for n in range(40)]
    refused = [0.3 + n / 1000 for n in range(30)]
    found = calibrate(Best(tuple(kept), tuple(refused)), 0.2)
    assert found.better
    assert 0.33 <= found.best.value <= 0.6
    assert found.best.refused_answerable == (0, 40)
    assert found.best.refused_unanswerable == (30, 30)
    assert found.present.refused_unanswerable == (0, 30)


def test_a_threshold_is_kept_where_no_other_tells_more() -> None:
    kept = [0.5 + n / 1000 for n in range(20)]
    refused = [0.5 + n / 1000 for n in range(20)]
    assert not calibrate(Best(tuple(kept), tuple(refused)), 0.25).better
    apart = calibrate(Best((0.6,) * 20, (0.1,) * 20), 0.3)
    assert not apart.better


def test_no_threshold_is_proposed_that_refuses_more_than_one_in_twenty() -> None:
    kept = tuple(0.4 + n / 100 for n in range(40))
    found = calibrate(Best(kept, (0.7,) * 30), 0.1)
    lost, total = found.best.refused_answerable
    assert lost / total <= 0.05


def test_few_questions_of_ones_own_weigh_as_much_as_many_of_other_domains() -> None:
    kept, near, far = (0.6,) * 40, (0.5,) * 10, tuple(0.1 + n / 1000 for n in range(200))
    found = calibrate(Best(kept, near, far), 0.2)
    assert found.better
    assert found.best.refused_unanswerable == (10, 10)
    assert found.best.refused_strays == (200, 200)
    assert found.present.refused_strays == (100, 200)
    values = [one.value for one in found.others]
    assert values == sorted(set(values) - {found.best.value, found.present.value})


TOML = """# What answers.
title = "Kitchen"  # for people

[retrieval]
passages = 5  # enough
# min_passage_score = 0.3

[answer]
mode = "quote"
"""


def test_comments_and_order_stay_when_settings_are_written(tmp_path: Path) -> None:
    file = tmp_path / "kitchen" / "domain.toml"
    file.parent.mkdir()
    file.write_text(TOML, encoding="utf-8")
    write_settings(file, {"passages": 8, "mode": "hybrid", "min_passage_score": 0.41})
    text = file.read_text(encoding="utf-8")
    assert "passages = 8  # enough\n" in text
    for line in ("# What answers.", "# min_passage_score = 0.3", 'title = "Kitchen"  # for people'):
        assert line in text
    found = load_domain(file)
    assert (found.retrieval.mode, found.retrieval.min_passage_score) == ("hybrid", 0.41)
    assert found.answer.mode == "quote"


@pytest.mark.parametrize("text", ["", 'title = "x"\n', "retrieval = {passages = 2}\n"])
def test_a_file_without_the_section_gets_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kitchen" / "domain.toml"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    write_settings(file, {"neighbours": 1})
    assert load_domain(file).retrieval.neighbours == 1


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "domain.toml").write_text("no = = toml", encoding="utf-8")
    with pytest.raises(BadInput, match=r"domain\.toml cannot be changed"):
        write_settings(tmp_path / "domain.toml", {"neighbours": 1})


def test_the_lines_are_toml() -> None:
    lines = toml_lines({"mode": "hybrid", "min_passage_score": 0.4})
    assert lines == '[retrieval]\nmode = "hybrid"\nmin_passage_score = 0.4'


NAMES = [f"part{n:02d}" for n in range(30)]


SOLVED = [
    Demonstration(
        f"d{n}", f"Where is {name}?", f"Keep {name} with care in a dry place, drawer {n}."
    )
    for n, name in enumerate(NAMES[:25])
]
LABELLED = [
    Demonstration(f"{label}{n}", f"{label} please, case {n} of {'xyz' * n}", label)
    for label in ("red", "blue")
    for n in range(12)
]


@contextmanager
def _open(folder: Path, solved: Sequence[Demonstration]) -> Iterator[Lookup]:
    """Each document says one thing of one part in many words: names decide, vectors do not."""
    documents = [
        document(f"{name}.md", [f"It is kept with care in a dry place, {name} (drawer {n})."])
        for n, name in enumerate(NAMES)
    ]
    snapshot = open_snapshot(Shelf(documents, demonstrations=solved).write(folder))
    settings = EmbedderSettings(name="hash")
    release = Release(
        number=3,
        domain="kitchen",
        snapshot="s",
        adapter=None,
        prompt_format="sentences",
        mode="generate",
        system="",
        refusal="No.",
        fallback="none",
        max_tokens=9,
        retrieval=RetrievalSettings(passages=2, min_passage_score=0.9),
        embedder=EmbedderPin(settings=settings, fingerprint="hash/1"),
        base=None,
        parent=None,
        created=datetime.now(UTC),
    )
    with closing(Retriever(snapshot)) as retriever:
        yield Lookup(release, retriever, cast(Any, HashEmbedder()), None, None)


def _domain(folder: Path, questions: str = "") -> Domain:
    folder.mkdir()
    (folder / "domain.toml").write_text("", encoding="utf-8")
    if questions:
        (folder / "questions.jsonl").write_text(questions, encoding="utf-8")
    return load_domain(folder)


def test_a_domain_is_measured_on_its_examples_and_told_what_is_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f'{{"id": "q{n}", "question": "Who sells {name}, and where is it kept?", '
        f'"document": "{name}.md", '
        f'"sentence": "It is kept with care in a dry place, {name} (drawer {n})."}}\n'
        for n, name in enumerate(NAMES)
    ]
    rows += [
        f'{{"id": "u{n}", "question": "Why {n}?", "document": null, "sentence": null}}\n'
        for n in range(12)
    ]
    which = Demonstration("label", "Which?", "card_arrival")
    with _open(tmp_path / "snapshot", [*SOLVED, which, *LABELLED]) as lookup:
        tuning = examine(_domain(tmp_path / "kitchen", "".join(rows)), lookup)
    assert len(tuning.cases.measured) == 55
    assert len(tuning.cases.unanswerable) == 12
    assert "Which?" in [case.text for case in tuning.cases.others]
    assert len(tuning.cases.others) == 25
    assert [one.demonstrations for one in tuning.votes] == [1, 2, 4, 8]
    assert [one.voted.total for one in tuning.votes] == [24] * 4
    assert tuning.votes[2].voted.hits >= 20
    by_name = {one.name: one for one in tuning.measured}
    assert all(by_name["lexical"].found)
    assert not all(by_name["present"].found)
    assert tuning.changed["mode"] in ("lexical", "hybrid")
    _show(tuning)
    printed = capsys.readouterr().out
    assert "present: dense" in printed
    assert "better than the present ranking" in printed
    assert "answerable, refused" in printed
    assert "0 of other domains" in printed
    assert "each left out in turn" in printed


def test_the_questions_of_the_domains_beside_are_unanswerable_here(tmp_path: Path) -> None:
    rows = [
        f'{{"id": "b{n}", "question": "Who rings bell {n}?", "document": "d", "sentence": "s"}}\n'
        for n in range(12)
    ]
    unanswered = '{"id": "x", "question": "Odd?", "document": null, "sentence": null}\n'
    _domain(tmp_path / "belfry", "".join(rows) + unanswered)
    with _open(tmp_path / "snapshot", SOLVED) as lookup:
        tuning = examine(_domain(tmp_path / "kitchen"), lookup)
    assert len(tuning.cases.strays) == 12
    (refusal,) = tuning.refusals
    assert refusal.calibration is not None
    assert refusal.calibration.present.refused_strays[1] == 12


def test_a_domain_that_may_quote_has_a_second_threshold(tmp_path: Path) -> None:
    cases = [Case(f"Where is {name} kept?", frozenset()) for name in NAMES[:12]]
    strays = [Case(f"Who rings bell {n}?", frozenset(), answerable=False) for n in range(12)]
    asked = Cases((), (), tuple(cases), tuple(strays))
    with _open(tmp_path / "snapshot", SOLVED) as lookup:
        quoting = replace(lookup, release=lookup.release.model_copy(update={"mode": "quote"}))
        found = refusals(quoting, asked, lookup.release.retrieval)
        assert [one.key for one in refusals(lookup, asked, lookup.release.retrieval)] == [
            "min_passage_score"
        ]
    assert [one.key for one in found] == ["min_passage_score", "min_quote_score"]
    quotes = found[1].calibration
    assert quotes is not None
    assert quotes.best.value > 0
    assert quotes.present.value == lookup.release.retrieval.min_quote_score


def test_a_threshold_is_a_cosine_of_any_candidate_in_every_mode(tmp_path: Path) -> None:
    """So it is on the scale that the service refuses by, whatever the order of the mode."""
    with _open(tmp_path / "snapshot", SOLVED) as lookup:
        texts = [f"Where is {name} kept?" for name in NAMES[:10]]
        for mode in ("dense", "lexical", "hybrid"):
            how = {"mode": mode, "passages": 1, "neighbours": 1}
            settings = lookup.release.retrieval.model_copy(update=how)
            every = lookup.ask(texts)
            for asked, best in zip(every, best_cosines(lookup, every, settings), strict=True):
                for least, found in ((best - 1e-5, True), (best + 1e-5, False)):
                    at = settings.model_copy(update={"min_passage_score": least})
                    assert bool(lookup.retriever.search(asked, at)) == found


def test_a_domain_with_few_questions_keeps_its_settings(tmp_path: Path) -> None:
    with _open(tmp_path / "snapshot", SOLVED[:2]) as lookup:
        tuning = examine(_domain(tmp_path / "kitchen"), lookup)
    assert tuning.changed == {}
    assert tuning.votes == []
    assert "2 cases are too few" in tuning.reasons[0]
    assert "keep min_passage_score" in tuning.reasons[1]


def test_a_domain_without_any_question_keeps_its_settings(tmp_path: Path) -> None:
    with _open(tmp_path / "snapshot", []) as lookup:
        tuning = examine(_domain(tmp_path / "kitchen"), lookup)
    assert (tuning.measured, tuning.changed) == ([], {})
    assert "0 cases are too few" in tuning.reasons[0]
