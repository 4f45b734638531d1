"""A study's report as one HTML file: whole, safe to open, and the same for the same answers."""

import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from eval.study.blocks import Costs, Forgetting, Intervals
from eval.study.drawing import drawn
from eval.study.findings import findings
from eval.study.page import page
from eval.study.results import Record
from eval.study.spec import Study

CONDITIONS = ("base", "SFT", "ICL-trained")
LABELS = ("card", "cash", "loan")


def study(folder: Path, **changes: Any) -> Study:
    rows = folder / "rows.jsonl"
    rows.write_text('{"question": "?", "answer": "card"}\n', encoding="utf-8")
    told = {
        "name": "parts <of> a whole",
        "tasks": [
            {"name": "intents", "kind": "label", "rows": str(rows)},
            {"name": "general", "kind": "quote", "rows": str(rows)},
        ],
        "conditions": [{"name": name, "model": f"d@{n}"} for n, name in enumerate(CONDITIONS, 1)],
        "general": ["general"],
        **changes,
    }
    return Study.model_validate(told)


def records(seconds: float = 0.1) -> list[Record]:
    """The later a condition, the more it gets right of its task, and the less in general."""
    made = []
    for place, name in enumerate(CONDITIONS):
        for task in ("intents", "general"):
            for n in range(40):
                gold = LABELS[n % 3]
                share = 0.3 + 0.3 * place if task == "intents" else 0.9 - 0.3 * place
                right = random.Random(f"{name} {task} {n}").random() < share
                said = gold if right else "<script>alert(1)</script>\x1b[31m"
                made.append(
                    Record(
                        task=task,
                        condition=name,
                        seed=1,
                        item=f"{n:02}",
                        messages=[{"role": "user", "content": f"What of {n} & <b>?"}],
                        expected=gold,
                        answer=said,
                        score=float(right),
                        found=gold if right else None,
                        rule="exact" if right else "none",
                        finish_reason="stop",
                        tokens_in=50,
                        tokens_out=5,
                        seconds=seconds * (1 + place),
                        release=str(place + 1),
                    )
                )
    return made


class Checked(HTMLParser):
    """Collects tags with their attributes, and whether all that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(study(tmp_path_factory.mktemp("page")), records())


def test_it_needs_nothing_else_and_runs_nothing(text: str) -> None:
    seen = Checked(text)
    assert seen.open == []
    names = {tag for tag, _ in seen.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "image"}
    asked = [
        value
        for _, attributes in seen.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action") and value
    ]
    assert [value for value in asked if not value.startswith("#")] == []
    assert not re.search(r"url\((?!#)|@import|\bon\w+=", text)


def test_what_was_said_cannot_act_on_the_page(text: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "parts &lt;of&gt; a whole" in text
    assert "\x1b" not in text


def test_it_shows_all_that_was_found(text: str) -> None:
    for said in (
        "In pairs, on the same questions",
        "Won by ICL-trained against base",
        "Lost by",
        "by class, the worst first",
        "Gain and forgetting, against base",
        "The study, whole",
        "Releases that answered",
        "sha256",
        "prefers-color-scheme: dark",
        "@media print",
    ):
        assert said in text, said
    # Each task its intervals, differences and costs; one its confusion; and forgetting.
    assert text.count("<svg") == 8
    assert "rows: rows.jsonl" in text, "where the files lay says nothing"


def test_the_same_answers_give_the_same_bytes_but_for_times(tmp_path: Path) -> None:
    one = {"kind": "quote", "name": "general", "rows": str(tmp_path / "rows.jsonl")}
    told = study(tmp_path, tasks=[one], general=[])
    slow, fast = records(0.2), records(0.1)
    assert page(told, slow) != page(told, fast)
    assert page(told, slow, times=False) == page(told, fast, times=False)


def test_drawings_take_the_ink_of_the_page(tmp_path: Path) -> None:
    sections = findings(study(tmp_path), records())
    blocks = [block for section in sections for block in section.blocks]
    for number, block in enumerate(blocks):
        if isinstance(block, Intervals | Costs | Forgetting):
            svg = drawn(block, number)
            ElementTree.fromstring(svg.replace("xlink:href", "href"))
            assert "currentColor" in svg
            assert "<text" in svg, "text stays text"
            assert not re.search(r"#0102|#0405", svg)


def test_a_study_without_general_tasks_says_nothing_of_forgetting(tmp_path: Path) -> None:
    titles = [section.title for section in findings(study(tmp_path, general=[]), records())]
    assert titles == ["intents", "general"]


def test_the_baseline_is_the_studys(tmp_path: Path) -> None:
    sections = findings(study(tmp_path, baseline="SFT"), records())
    (first, *_) = [
        block for block in sections[0].blocks if isinstance(block, Intervals) and block.zero
    ]
    assert first.title == "Difference to SFT, 95 %"
    by_name = {span.name: span for span in first.spans}
    assert by_name["base"].value < 0 < by_name["ICL-trained"].value
    assert all(span.low <= span.value <= span.high for span in first.spans)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"general": ["nothing"]}, "names 'nothing', which is no task"),
        ({"baseline": "nobody"}, "'nobody', which is no condition"),
        ({"seeds": [1, 2], "conditions": [{"name": "a", "model": "m", "seeds": [3]}]}, "a seed 3"),
        ({"conditions": [{"name": "a", "model": "m", "models": {7: "n"}}]}, "a seed 7"),
    ],
)
def test_what_names_nothing_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        study(tmp_path, **changes)


def test_no_command_line_loads_what_draws() -> None:
    code = "import sys, dslm, eval.study.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
