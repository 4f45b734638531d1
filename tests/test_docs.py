"""The documents name everything that a user can type, set, call or watch, and nothing else."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deploy.checks.tree import tree, with_tree
from dslm import app
from eval.running import DidNotStart
from indexer.domain import Domain, load_domain
from indexer.errors import DslmError
from indexer.reading.sources import read_documents
from service.app import create_app
from service.bootstrap import build
from service.settings import ServiceSettings
from service.telemetry import Telemetry

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "deploy" / "docs").glob("*.md"))
DOMAIN = (ROOT / "deploy" / "docs" / "domain.md").read_text(encoding="utf-8")
DOCS = "\n".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])
CODE = re.compile(r"`([^`\n]+)`")
NAMED = set(CODE.findall(DOCS))
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCS, re.DOTALL)


def commands(group: Any, path: str = "dslm") -> Iterator[tuple[str, Any]]:
    """Every command below a group with its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (o for o in (*parameter.opts, *parameter.secondary_opts) if o.startswith("--"))


def domain_keys(
    schema: type[BaseModel] = Domain, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in schema.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from domain_keys(kind, f"{prefix}{name}.")
        elif not field.exclude:
            yield prefix + name, field


def metrics() -> Iterator[str]:
    for family in Telemetry().registry.collect():
        yield f"{family.name}_total" if family.type == "counter" else family.name


def subclasses(kind: type[DslmError]) -> set[type[DslmError]]:
    found = set(kind.__subclasses__())
    return found.union(*(subclasses(one) for one in found))


ERRORS = {DidNotStart, *subclasses(DslmError)}


def row(name: str, text: str = DOCS) -> str:
    """The table row whose first cell names it, else one that names it elsewhere."""
    lines = [line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line]
    rows = sorted(lines, key=lambda line: f"`{name}`" not in line.split(" | ")[0])
    assert rows, f"{name} is in no table of the documents"
    return rows[0]


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))


def shell_lines() -> Iterator[str]:
    for language, block in BLOCKS:
        if language in ("bash", "console"):
            yield from (
                line.removeprefix("$ ")
                for line in block.splitlines()
                if language == "bash" or line.startswith("$ ")
            )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_in_the_docs(name: str) -> None:
    described = row(name)
    assert [o for o in options(COMMANDS[name]) if f"`{o}`" not in described] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_gives_an_example_of_itself(name: str) -> None:
    assert f"  {name}" in COMMANDS[name].epilog


@pytest.mark.parametrize(("name", "field"), list(ServiceSettings.model_fields.items()))
def test_every_service_setting_is_in_the_docs_with_its_default(name: str, field: FieldInfo) -> None:
    default = str(field.default).replace(f"{ROOT}/", "")
    shown = {"None": "unset", "": "empty"}.get(default, f"`{default}`")
    assert row(f"DSLM_{name.upper()}").split(" | ")[1] == shown


def test_the_docs_name_no_setting_that_does_not_exist() -> None:
    known = {f"DSLM_{name.upper()}" for name in ServiceSettings.model_fields}
    known |= {"DSLM_URL", "DSLM_KEY"}  # of the commands that talk to a running service
    assert set(re.findall(r"DSLM_[A-Z_]+", DOCS)) <= known


@pytest.mark.parametrize(("key", "field"), list(domain_keys()))
def test_every_domain_setting_is_in_the_docs_with_its_default(key: str, field: FieldInfo) -> None:
    shown = "the folder's" if field.is_required() else f"`{json.dumps(field.default)}`"
    shown = {"`null`": "none", '`""`': "empty"}.get(shown, shown)
    assert row(key, DOMAIN).split(" | ")[1] == shown


def test_the_docs_name_no_domain_setting_that_does_not_exist() -> None:
    sections = "|".join(key.partition(".")[0] for key, _ in domain_keys() if "." in key)
    named = {name for name in NAMED if re.fullmatch(rf"({sections})(\.\w+)+", name)}
    assert named <= {key for key, _ in domain_keys()}


def test_every_endpoint_is_in_the_docs_and_no_other(tmp_path: Path) -> None:
    settings = ServiceSettings(store=tmp_path, engine_urls="http://127.0.0.1:9")
    served = {
        f"{method} {re.sub(r':path', '', route.path)}"
        for route in routes(create_app(build(settings)))
        for method in route.methods
    }
    named = {name for name in NAMED if re.match(r"(GET|POST|PUT|DELETE) /", name)}
    assert named == served


def routes(served: Any) -> Iterator[APIRoute]:
    """Of the application and of the routers that it includes."""
    for route in served.routes:
        if isinstance(route, APIRoute):
            yield route


@pytest.mark.parametrize("name", list(metrics()))
def test_every_metric_is_in_the_docs(name: str) -> None:
    assert row(name)


def test_the_docs_name_no_metric_that_does_not_exist() -> None:
    named = {name for name in NAMED if re.match(r"(dslm|gen_ai)_\w+$", name)}
    assert named - {"gen_ai_request_model"} == set(metrics())


@pytest.mark.parametrize("kind", sorted(ERRORS, key=str))
def test_every_exit_code_and_error_code_is_in_the_docs(kind: Any) -> None:
    assert f"\n| {kind.exit_code} | " in DOCS
    code = getattr(kind, "code", None)
    assert code is None or f"`{code}`" in NAMED or row(code)


def test_the_modules_that_define_errors_are_all_looked_at() -> None:
    """The test above sees the classes of the modules that are imported here, so all must be."""
    rooms = ("indexer", "adapters", "service", "eval")
    defining = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        if re.search(r"exit_code: ClassVar|code: ClassVar", file.read_text(encoding="utf-8"))
    }
    assert defining <= {kind.__module__ for kind in ERRORS} | {DslmError.__module__}


@pytest.mark.parametrize("target", sorted(make_targets()))
def test_every_make_target_is_in_the_docs(target: str) -> None:
    assert target == "help" or re.search(rf"\bmake {target}\b", DOCS)


@pytest.mark.parametrize("line", sorted({line for line in shell_lines() if "make " in line}))
def test_every_make_command_in_the_docs_works(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if "=" not in word]
    assert words[0] == "make"
    assert set(words[1:]) <= make_targets()


@pytest.mark.parametrize("line", sorted({line for line in shell_lines() if "dslm " in line}))
def test_every_dslm_command_in_the_docs_exists(line: str) -> None:
    words = shlex.split(line, comments=True)
    words[0] = words[0].removeprefix(".venv/bin/")
    name = next((n for n in (" ".join(words[:3]), " ".join(words[:2])) if n in COMMANDS), "")
    assert name, f"`{line}` is no command"
    given = {word for word in words if word.startswith("--")}
    assert given <= set(options(COMMANDS[name]))


@pytest.mark.parametrize(
    "path", sorted(name for name in NAMED if re.fullmatch(r"(\.?[\w-]+/)+[\w.-]*", name))
)
def test_every_path_in_the_docs_exists(path: str) -> None:
    is_hub_id = re.search(r"-\d|Instruct", path) is not None
    assert is_hub_id or (ROOT / path).exists()


def test_the_tree_in_the_docs_is_todays() -> None:
    page = (ROOT / "deploy" / "docs" / "tree.md").read_text(encoding="utf-8")
    assert with_tree(page, tree(ROOT)) == page, "run `make docs`"


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_the_python_in_the_docs_is_python(block: str) -> None:
    assert len(ast.parse(block).body) > 1
    assert len([line for line in block.splitlines() if line.strip()]) <= 15


def test_the_five_lines_of_the_readme_make_a_domain(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "demo" / "domains", tmp_path / "deploy" / "demo" / "domains")
    block = next(block for language, block in BLOCKS if "1. copy a folder" in block)
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    folder = tmp_path / "deploy" / "demo" / "domains" / "garden"
    (folder / "documents" / "roses.md").write_text("# Roses\n\nPrune roses in March.\n", "utf-8")
    domain = load_domain(folder)
    assert (domain.name, domain.adapter) == ("garden", None)
    assert [document.path for document in read_documents(domain)] == ["roses.md"]
