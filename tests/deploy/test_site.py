"""The documentation site: every page stands in it and every link leads somewhere."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.name: page.read_text("utf-8") for page in (ROOT / "deploy" / "docs").glob("*.md")}
CONFIG = yaml.safe_load((ROOT / "deploy" / "site" / "mkdocs.yml").read_text("utf-8"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
BUILDER = ROOT / ".venv" / "site" / "bin" / "python"


def pages(nav: Any) -> Iterator[str]:
    """Of a part of the navigation, in order."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for part in nav.values():
            yield from pages(part)
    else:
        for part in nav:
            yield from pages(part)


def prose(text: str) -> str:
    """Without what is shown as code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(text: str) -> set[str]:
    """Of its headings, as the site makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower() for title in titles]
    return {re.sub(r"[-\s]+", "-", word) for word in words}


def test_every_page_stands_in_the_navigation_once() -> None:
    assert sorted(pages(CONFIG["nav"])) == sorted(PAGES)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_link_of_a_page_leads_to_a_page_and_a_heading(name: str) -> None:
    for link in LINK.findall(prose(PAGES[name])):
        if link.startswith(("https://", "http://")):
            continue
        page, _, heading = link.partition("#")
        assert not page or page in PAGES, link
        assert not heading or heading in anchors(PAGES[page or name]), link


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_page_begins_with_its_title(name: str) -> None:
    assert PAGES[name].startswith("# ")


def test_a_page_that_links_to_nothing_is_not_built(tmp_path: Path) -> None:
    """The real builder, where `make site` has put it: warnings are errors."""
    if not BUILDER.exists():
        pytest.skip("mkdocs is not installed: `make site` does that")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# A\n\n[to nothing](missing.md)\n", "utf-8")
    config = tmp_path / "mkdocs.yml"
    config.write_text("site_name: x\ntheme: {name: material, font: false}\n", "utf-8")
    words = [str(BUILDER), "-m", "mkdocs", "build", "--strict", "-f", str(config)]
    assert subprocess.run(words, capture_output=True, check=False).returncode != 0
    (docs / "index.md").write_text("# A\n\n[to itself](index.md)\n", "utf-8")
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
