"""The whole service in this process, in front of the fake engine: real index, real embedder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import httpx

from indexer.domain import load_domains
from service.api.protocol import BoundedProtocol
from service.app import create_app
from service.bootstrap import Service, build
from service.indexing import Indexing
from service.settings import ServiceSettings
from tests.service.fake_engine import FakeEngine, serving

GARDEN = """
name = "garden"
[answer]
mode = "generate"
"""
PANTRY = """
name = "pantry"
[answer]
mode = "verbatim"
fallback = "quote"
"""
TEXTS = {
    "garden": {
        "roses.md": "# Roses\n\nPrune roses in March. Water roses twice a week in July.\n",
        "tools.md": "# Tools\n\nSharpen the shears every autumn. Oil the wooden handles.\n",
    },
    "pantry": {"flour.md": "# Flour\n\nKeep flour in a dry jar. Rye flour lasts nine months.\n"},
}
SOLVED = (
    '{"messages": [{"role": "user", "content": "When do I prune apple trees?"}, '
    '{"role": "assistant", "content": "[1] In February."}]}\n'
)
QUESTION = "When do I prune roses?"
FAR = "Who composed the opera about the barber in Seville?"


def write_domains(folder: Path) -> Path:
    """Two small domains."""
    for name, toml in (("garden", GARDEN), ("pantry", PANTRY)):
        documents = folder / name / "documents"
        documents.mkdir(parents=True)
        (folder / name / "domain.toml").write_text(toml, "utf-8")
        (folder / name / "demonstrations.jsonl").write_text(SOLVED, "utf-8")
        for path, text in TEXTS[name].items():
            (documents / path).write_text(text, "utf-8")
    return folder


def index(store: Path, domains: Path) -> None:
    """Release every domain, once."""
    settings = ServiceSettings(store=store, domains=domains)
    for domain in load_domains(domains).values():
        Indexing(settings, output=StringIO()).run(domain)


@dataclass
class Product:
    """One running service; `url` answers, `engine` is what it asks."""

    url: str
    engine: FakeEngine
    service: Service
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        sent = {**self.headers, **headers}
        return httpx.post(f"{self.url}{path}", json=body, headers=sent, timeout=30)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers={**self.headers, **headers}, timeout=30)

    def chat(self, model: str = "garden", question: str = QUESTION, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": question}], **more}
        return self.post("/v1/chat/completions", body)

    def until(self, condition: Any, seconds: float = 5) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.01)


@contextmanager
def running(store: Path, domains: Path, **settings: Any) -> Iterator[Product]:
    """The service over an indexed store, until the end of the block."""
    engine = FakeEngine()
    settings = {"engine_idle_seconds": 0, **settings}  # tests count what the engine is asked
    with serving(engine.app) as engine_url:
        made = ServiceSettings(store=store, domains=domains, engine_urls=engine_url, **settings)
        with served(made, engine) as product:
            yield product


@contextmanager
def served(settings: ServiceSettings, engine: FakeEngine) -> Iterator[Product]:
    """A service of these settings, until the end of the block; several may share an engine."""
    service = build(settings)
    with serving(create_app(service), http=BoundedProtocol, ws="none", server_header=False) as url:
        product = Product(url, engine, service)
        product.until(lambda: service.engines.ready)
        product.until(lambda: len(service.releases.live()) == len(service.releases.domains))
        service.provisioned.set()
        yield product
