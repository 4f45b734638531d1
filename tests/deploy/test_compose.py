"""The compose files: as the specification has them, and as the service and the engine need it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.checks.dockerfile import stages
from deploy.checks.tools import find
from service.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "compose"
FILES = ("gpu", "cpu", "monitoring")
OURS = [("gpu", "service"), ("gpu", "engine"), ("cpu", "service")]


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def part(file: str, name: str) -> dict[str, Any]:
    said: dict[str, Any] = read(file)["services"][name]
    return said


def seconds(text: str) -> float:
    return float(text.removesuffix("s")) if text.endswith("s") else 60 * float(text[:-1])


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_one_that_compose_takes(name: str) -> None:
    schema = find("compose_spec.json")
    if schema is None:
        pytest.skip("the schema is not here: `make tools` fetches it from PyPI")
    content = read(name)
    del content["name"]  # younger than this schema
    jsonschema.Draft7Validator(json.loads(schema.read_text("utf-8"))).validate(content)


@pytest.mark.parametrize("name", FILES)
def test_what_a_service_names_is_defined(name: str) -> None:
    content = read(name)
    for service in content["services"].values():
        assert set(service["networks"]) <= set(content["networks"])
        assert set(service.get("secrets", [])) <= set(content.get("secrets", {}))
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            inside = source in content["volumes"]
            assert inside or (FOLDER / source).exists(), volume


def test_files_that_are_used_together_agree_on_their_networks() -> None:
    for name in ("gpu", "cpu"):
        networks, others = read(name)["networks"], read("monitoring")["networks"]
        assert all(networks[one] == others[one] for one in networks)


@pytest.mark.parametrize(("file", "name"), OURS)
def test_what_runs_is_built_here_and_writes_only_into_its_volumes(file: str, name: str) -> None:
    service = part(file, name)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    places = {volume.split(":")[1] for volume in service["volumes"]} | set(service["tmpfs"])
    declared = stages(ROOT / "Dockerfile")[file].of("VOLUME")[0].listed()
    assert places == set(declared or ())
    if "build" in service:
        assert service["build"]["target"] == file


@pytest.mark.parametrize("file", ["gpu", "cpu"])
def test_a_stop_leaves_time_for_the_drain(file: str) -> None:
    service = part(file, "service")
    drain = float(service["environment"]["DSLM_DRAIN_SECONDS"])
    assert seconds(service["stop_grace_period"]) >= drain + 60
    known = {f"DSLM_{name.upper()}" for name in ServiceSettings.model_fields}
    assert set(service["environment"]) <= known


def test_the_engine_is_on_a_network_that_leads_nowhere_and_reads_the_store() -> None:
    content, engine = read("gpu"), part("gpu", "engine")
    assert [content["networks"][one] for one in engine["networks"]] == [{"internal": True}]
    assert "ports" not in engine
    assert "store:/store:ro" in engine["volumes"]
    assert seconds(engine["stop_grace_period"]) > 30
    assert "--shutdown-timeout=30" in engine["command"]
    assert part("gpu", "service")["environment"]["DSLM_ENGINE_URLS"] == "http://engine:8000"


def test_the_engine_has_the_places_that_the_service_counts_on() -> None:
    command = part("gpu", "engine")["command"]
    for name in ("max_loras", "max_cpu_loras", "max_lora_rank"):
        default = ServiceSettings.model_fields[name].default
        assert f"--{name.replace('_', '-')}={default}" in command


def test_nothing_listens_beyond_this_host_and_every_image_has_a_version() -> None:
    for name in FILES:
        for service in read(name)["services"].values():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
            assert service["image"].rpartition(":")[2] not in ("", "latest")


def test_the_commands_of_the_pages_name_files_and_targets_that_exist() -> None:
    docs = ROOT / "deploy" / "docs"
    text = "".join((docs / page).read_text("utf-8") for page in ("containers.md", "kubernetes.md"))
    files = set(re.findall(r" -f (\S+)", text))
    assert files == {"gpu.yaml", "monitoring.yaml"}
    assert all((FOLDER / file).exists() for file in files)
    assert set(re.findall(r"--target (\w+)", text)) <= set(stages(ROOT / "Dockerfile"))
    chart, values = re.findall(r"helm install \w+ (\S+) --values (\S+)", text)[0]
    assert (ROOT / chart / "Chart.yaml").exists()
    assert (ROOT / values).exists()
