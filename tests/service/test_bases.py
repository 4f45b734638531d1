"""Several bases at once, each domain on its own, and a model that others run."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from indexer.domain import load_domains
from indexer.errors import BadInput
from service.api.protocol import BoundedProtocol
from service.app import create_app
from service.bootstrap import build
from service.engines.command import Child, engine_environment
from service.engines.entries import EngineEntry, check_bases, read_entries
from service.indexing import Indexing
from service.settings import DEMO, ServiceSettings
from tests.service.fake_engine import FakeEngine, serving
from tests.service.product import Product, write_domains

SECRET = "sk-never-to-be-seen-5f1c"
QUESTION = "When do I prune roses?"


class PaidModel(FakeEngine):
    """Wants a key, calls its model otherwise than it was asked for, and may be asked too often."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters["big-1"] = "its own"
        self.keys: list[str] = []
        self.answers_with: tuple[int, str] | None = None

    def _stream(self, body: dict[str, Any], words: list[str], fails: str) -> AsyncIterator[bytes]:
        return super()._stream({**body, "model": "big-1-2026-11-20"}, words, fails)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            key = headers.get(b"authorization", b"").decode()
            self.keys.append(key)
            status, said = 200, ""
            if key != f"Bearer {SECRET}":
                status, said = 401, f"Incorrect API key provided: {key}"
            elif self.answers_with and "completions" in scope["path"]:
                status, said = self.answers_with
            if status != 200:
                error = {"message": said, "type": "x", "param": None, "code": None}
                reply = JSONResponse({"error": error}, status, {"Retry-After": "7"})
                return await reply(scope, receive, send)
        await super().app(scope, receive, send)


@dataclass
class World:
    """One service with three bases: its own, a second one, and somebody's large model."""

    product: Product
    own: FakeEngine
    second: FakeEngine
    large: PaidModel

    def clear(self) -> "World":
        for fake in (self.own, self.second, self.large):
            fake.asked.clear()
            fake.fails.clear()
        self.large.answers_with = None
        return self

    def asked(self) -> tuple[int, int, int]:
        return len(self.own.asked), len(self.second.asked), len(self.large.asked)


def write_engines(folder: Path, second: str, large: str) -> Path:
    """A second base beside the demonstration's, and a model by its API."""
    shutil.copytree(DEMO / "model", folder / "second")
    config = json.loads((folder / "second" / "config.json").read_text("utf-8"))
    config["trained"] = "further"
    (folder / "second" / "config.json").write_text(json.dumps(config), "utf-8")
    file = folder / "engines.toml"
    file.write_text(
        f"""
[[engine]]
name = "second"
base = "second"
urls = ["{second}"]

[[engine]]
name = "large"
urls = ["{large}/v1"]
model = "big-1"
key = "LARGE_KEY"
context = 2000
""",
        "utf-8",
    )
    return file


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bases")
    domains = write_domains(folder / "domains")
    for name, base in (("garden", "large"), ("pantry", "second")):
        file = domains / name / "domain.toml"
        file.write_text(f'base = "{base}"\n{file.read_text("utf-8")}', "utf-8")
    own, second, large = FakeEngine(), FakeEngine(), PaidModel()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("LARGE_KEY", SECRET)
        urls = [stack.enter_context(serving(fake.app)) for fake in (own, second, large)]
        settings = ServiceSettings(
            store=folder / "store",
            domains=domains,
            engine_urls=urls[0],
            engines=write_engines(folder, urls[1], urls[2]),
            engine_idle_seconds=0,
        )
        for domain in load_domains(domains).values():
            Indexing(settings, output=StringIO()).run(domain)
        service = build(settings)
        app = create_app(service)
        url = stack.enter_context(serving(app, http=BoundedProtocol, server_header=False))
        product = Product(url, own, service)
        product.until(lambda: all(unit.ready for unit in service.engines.units))
        product.until(lambda: len(service.releases.live()) == 2)
        service.provisioned.set()
        yield World(product, own, second, large)


@pytest.fixture
def world(started: World) -> World:
    return started.clear()


def test_each_domain_is_answered_by_its_own_base(world: World) -> None:
    assert world.product.chat("garden").status_code == 200
    assert world.asked() == (0, 0, 1)
    reply = world.product.chat("pantry", "How is flour kept?")
    assert reply.json()["dslm"]["mode"] == "verbatim"
    assert world.asked() == (0, 1, 1)
    releases = world.product.service.releases.live()
    assert releases["garden"].base != releases["pantry"].base


def test_every_base_can_be_asked_by_its_name_and_is_listed(world: World) -> None:
    for name in ("base", "second", "large"):
        reply = world.product.chat(name)
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == name
    assert world.asked() == (1, 1, 1)
    cards = world.product.get("/v1/models").json()["data"]
    parents = {card["id"]: card["parent"] for card in cards}
    assert parents == {
        **dict.fromkeys(("base", "second", "large")),
        "garden": "large",
        "pantry": "second",
    }


def test_one_bases_engine_that_dies_takes_no_other_domain_with_it(world: World) -> None:
    world.second.ill = True
    engines = world.product.service.engines
    world.product.until(lambda: not engines["second"].ready)
    assert world.product.chat("garden").status_code == 200
    assert world.product.chat("base").status_code == 200
    quoted = world.product.chat("pantry", "How is flour kept?")
    assert quoted.json()["dslm"]["mode"] == "quote"
    assert world.product.get("/ready").status_code == 503
    assert world.product.get("/health").status_code == 200
    world.second.ill = False
    world.product.until(lambda: engines["second"].ready, 10)


def test_an_external_model_is_asked_in_openais_words_alone(world: World) -> None:
    reply = world.product.chat("garden", max_tokens=9)
    assert reply.json()["model"] == "garden"
    (asked,) = world.large.asked
    assert (asked["model"], asked["max_completion_tokens"]) == ("big-1", 9)
    assert set(asked) == {"model", "max_completion_tokens", "messages"}
    assert "Prune roses in March." in asked["messages"][-1]["content"]


def test_an_external_model_may_call_tools(world: World) -> None:
    tool = {"type": "function", "function": {"name": "water", "parameters": {"type": "object"}}}
    reply = world.product.chat("garden", tools=[tool], tool_choice="required")
    assert reply.status_code == 200, reply.text
    assert world.large.asked[0]["tools"] == [tool]


@pytest.mark.parametrize("model", ["garden", "large"])
def test_an_external_stream_bears_the_public_name_throughout(world: World, model: str) -> None:
    reply = world.product.chat(model, stream=True)
    lines = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert {line["model"] for line in lines} == {model}
    assert reply.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"top_k": 3}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs"),
        ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs"),
        ({"dslm": {"mode": "verbatim"}}, "dslm.mode"),
    ],
)
def test_what_an_external_model_cannot_do_is_refused_by_name(
    world: World, more: dict[str, Any], named: str
) -> None:
    reply = world.product.chat("garden", **more)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == named
    assert world.asked() == (0, 0, 0)


def test_an_external_model_takes_no_adapter_and_no_legacy_completion(world: World) -> None:
    url = world.product.url
    refused = httpx.put(f"{url}/v1/domains/garden/adapter", json={"adapter": "x"}, timeout=30)
    assert refused.status_code in (400, 404)
    body = {"model": "large", "prompt": "Once"}
    refused = world.product.post("/v1/completions", body)
    assert refused.status_code == 400
    assert "takes chats only" in refused.json()["error"]["message"]


def test_what_may_not_fit_an_external_model_is_refused_by_its_bytes(world: World) -> None:
    fits, long = "rose " * 200, "rose " * 400
    assert world.product.chat("garden", fits, max_tokens=16).status_code == 200
    refused = world.product.chat("garden", long, max_tokens=16)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        ((401, f"Incorrect API key provided: {SECRET}"), 503, "refuses the service's key"),
        ((429, "slow down"), 429, "asked too often"),
        ((404, "no such model"), 503, "knows no such model"),
        ((400, f"bad {SECRET}"), 400, "[key]"),
    ],
)
def test_an_external_models_refusal_is_told_as_what_it_is_and_never_with_the_key(
    world: World, said: tuple[int, str], status: int, told: str
) -> None:
    world.large.answers_with = said
    reply = world.product.chat("garden")
    assert reply.status_code == status
    assert told in reply.json()["error"]["message"]
    assert SECRET not in reply.text
    if status == 429:
        assert reply.headers["Retry-After"] == "7"


def test_the_key_goes_to_its_engine_and_nowhere_else(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.product.chat("garden")
    assert set(world.large.keys) == {f"Bearer {SECRET}"}
    service = world.product.service
    shown = [world.product.get(path).text for path in ("/health", "/ready", "/metrics")]
    assert SECRET not in "".join([*shown, caplog.text, repr(service.bases), repr(service.plan)])
    monkeypatch.setenv("LARGE_KEY", SECRET)
    child = Child(EngineEntry(name="base", base="x"), 1)
    assert "LARGE_KEY" not in engine_environment(child, {"LARGE_KEY"})


def test_health_says_how_each_base_is_and_shows_no_address(world: World) -> None:
    said = world.product.get("/health").json()
    assert set(said["engines"]) == {"base", "second", "large"}
    assert "127.0.0.1" not in json.dumps(said)


def written(folder: Path, text: str) -> ServiceSettings:
    file = folder / "engines.toml"
    file.write_text(text, "utf-8")
    return ServiceSettings(engines=file)


EXTERNAL = 'urls = ["http://x"]\nmodel = "m"\ncontext = 99\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[engine]]\nname =", "is not valid TOML"),
        ('[engine]\nname = "x"\n', r"Write tables \[\[engine\]\]"),
        ("[other]\n", "`other` is not known"),
        ('[[engine]]\nname = "X"\n', "engine 'X': `name`"),
        (f'[[engine]]\nname = "a"\nadress = 1\n{EXTERNAL}', "`adress`"),
        ('[[engine]]\nname = "a"\n', "it needs `urls`, `model` and `context`"),
        ('[[engine]]\nname = "a"\nbase = "b"\nmodel = "m"\n', "are for engines at `urls`"),
        ('[[engine]]\nname = "a"\nbase = "b"\nurls = ["ftp://x"]\n', "is no http"),
        ('[[engine]]\nname = "a"\nbase = "b"\nurls = ["http://u:p@x"]\n', "may hold no password"),
        (
            '[[engine]]\nname = "a"\nbase = "b"\nurls = ["http://x", "http://x"]\n',
            "stands there twice",
        ),
        ('[[engine]]\nname = "a"\nbase = "b"\nurls = ["http://x"]\noptions = "-x"\n', "`options`"),
        (f'[[engine]]\nname = "a"\n{EXTERNAL}[[engine]]\nname = "a"\n{EXTERNAL}', "two engines"),
    ],
)
def test_a_mistake_in_engines_toml_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as refused:
        read_entries(written(tmp_path, text))
    assert "engines.toml" in str(refused.value)


def test_the_settings_describe_the_base_unless_the_file_does(tmp_path: Path) -> None:
    settings = written(tmp_path, f'[[engine]]\nname = "large"\n{EXTERNAL}')
    entries = read_entries(settings)
    assert list(entries) == ["base", "large"]
    assert (entries["base"].base, entries["large"].external) == (settings.base, True)
    only = read_entries(written(tmp_path, f'[[engine]]\nname = "base"\n{EXTERNAL}'))
    assert [entry.external for entry in only.values()] == [True]
    told = ServiceSettings(engine_urls="http://a:1/v1/ https://b")
    assert read_entries(told)["base"].urls == ("http://a:1", "https://b")
    with pytest.raises(BadInput, match="DSLM_ENGINE_URLS: 'here' is no http"):
        read_entries(ServiceSettings(engine_urls="here"))


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ('base = "lost"\n', "'lost' is no base that is served.*base, large"),
        ('base = "large"\n[answer]\nmode = "verbatim"\n', "cannot be kept by the external `large`"),
        ('name = "large"\n', "names a domain and a base"),
    ],
)
def test_a_domain_that_no_base_can_serve_is_named(tmp_path: Path, toml: str, told: str) -> None:
    (tmp_path / "domains" / "garden").mkdir(parents=True)
    (tmp_path / "domains" / "garden" / "domain.toml").write_text(toml, "utf-8")
    entries = read_entries(written(tmp_path, f'[[engine]]\nname = "large"\n{EXTERNAL}'))
    with pytest.raises(BadInput, match=told):
        check_bases(entries, load_domains(tmp_path / "domains"))


def test_a_key_that_is_not_set_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "domains").mkdir()
    text = f'[[engine]]\nname = "large"\nkey = "LOST_KEY"\n{EXTERNAL}'
    settings = written(tmp_path, text).model_copy(
        update={"store": tmp_path, "domains": tmp_path / "domains", "engine_urls": "http://x"}
    )
    with pytest.raises(BadInput, match="LOST_KEY is not set"):
        build(settings)
