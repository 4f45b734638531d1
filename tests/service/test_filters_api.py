"""Filters and retrieval modes over HTTP: real index, real embedder, the fake engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.product import Product, index, running

pytestmark = pytest.mark.slow

TOML = """
[answer]
mode = "quote"

[retrieval]
mode = "hybrid"
fusion = "minmax"
neighbours = 1
diversity = 0.2
min_passage_score = -1.0
"""
ROSES = (
    "---\ntitle: Roses\nteam: garden\nyear: 2021\n---\n\nPrune roses in March. They need light.\n"
)
TREES = "---\ntitle: Trees\nteam: orchard\nyear: 2024\n---\n\nPrune apple trees in February.\n"
QUESTION = "When do I prune?"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    root = tmp_path_factory.mktemp("filters")
    documents = root / "domains" / "garden" / "documents"
    documents.mkdir(parents=True)
    (documents.parent / "domain.toml").write_text(TOML, encoding="utf-8")
    (documents / "roses.md").write_text(ROSES, encoding="utf-8")
    (documents / "trees.md").write_text(TREES, encoding="utf-8")
    index(root / "store", Path(root / "domains"))
    with running(root / "store", root / "domains") as opened:
        yield opened


def _documents(product: Product, **dslm: object) -> set[str]:
    answer = product.chat("garden", QUESTION, dslm=dslm)
    assert answer.status_code == 200, answer.text
    return {passage["document"] for passage in answer.json()["dslm"]["passages"]}


def test_only_the_documents_that_are_asked_for_answer(product: Product) -> None:
    assert _documents(product) == {"roses.md", "trees.md"}
    assert _documents(product, filter={"team": "garden"}) == {"roses.md"}
    assert _documents(product, filter={"year": {"gt": 2021}}) == {"trees.md"}
    assert _documents(product, filter={"year": {"gt": 2030}}) == set()


def test_a_filter_that_cannot_be_is_a_400_that_names_what_is_known(product: Product) -> None:
    answer = product.chat("garden", QUESTION, dslm={"filter": {"teem": "garden"}})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "dslm.filter")
    assert "Known fields: team, year" in error["message"]
    answer = product.chat("garden", QUESTION, dslm={"filter": "garden"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dslm.filter")


def test_explain_tells_how_passages_came_by_their_places(product: Product) -> None:
    told = product.chat("garden", "apple trees", dslm={"explain": True}).json()["dslm"]["explain"]
    retrieval = told["retrieval"]
    assert (retrieval["mode"], retrieval["fusion"], retrieval["diversity"]) == (
        "hybrid",
        "minmax",
        0.2,
    )
    first, second = retrieval["hits"]
    assert first["lexical"] > 0
    assert second["lexical"] is None
    assert first["order"] > second["order"]
