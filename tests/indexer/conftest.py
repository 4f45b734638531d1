"""A small domain on disk, and a store to index it into."""

import json
from pathlib import Path

import pytest
from hypothesis import settings

from indexer.domain import Domain, load_domain
from indexer.settings import Paths
from tests.indexer.hash_embedder import HashEmbedder

# A machine that trains beside the tests is slow, not wrong.
settings.register_profile("indexer", deadline=None, max_examples=60, database=None)
settings.load_profile("indexer")

ROOT = Path(__file__).resolve().parents[2]

_DOCUMENTS = {
    "kettle.md": """# The kettle

The kettle holds 1.7 litres. It boils in four minutes.

## Care

Descale the kettle every month. Use citric acid, e.g. Larkfield powder.

| Fault | Remedy |
| --- | --- |
| Hums | Descale it |
""",
    "toaster.html": """<!DOCTYPE html><html><head><title>Toaster | Help</title></head><body>
<header><nav><a href="/">Home</a></nav></header>
<main><h1>The toaster</h1><p>Crumbs fall into
a tray. Empty the tray each week.</p></main>
<footer><p>All rights reserved.</p></footer></body></html>""",
    "notes/fridge.txt": """THE FRIDGE

The fridge is set to 4 degrees. Doors left open ring
an alarm after two minutes.
""",
}
_EXAMPLES = [("How big is the kettle?", "It holds 1.7 litres."), ("Is it loud?", "No, it is not.")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A domain's folder with three documents and two demonstrations."""
    return write_domain(tmp_path / "domains" / "kitchen")


def write_domain(home: Path) -> Path:
    """Three documents, two demonstrations and the TOML."""
    for name, text in _DOCUMENTS.items():
        file = home / "documents" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in _EXAMPLES
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (home / "demonstrations.jsonl").write_text(lines, encoding="utf-8")
    (home / "domain.toml").write_text('title = "Kitchen"\n', encoding="utf-8")
    return home


@pytest.fixture
def domain(folder: Path) -> Domain:
    return load_domain(folder)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "store")


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()
