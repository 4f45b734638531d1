"""Dashboard and alerts ask for what is exported; alerts fire when they should, are explained."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.tools import find
from service.telemetry import Telemetry

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dslm.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "alerts" / "dslm.yaml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
RUNBOOK = (DEPLOY / "docs" / "runbook.md").read_text(encoding="utf-8")
METRIC = re.compile(r"\b(?:dslm|gen_ai|vllm)[:_][a-z_:]+\b")
LABELS = {"gen_ai_request_model"}
ENDINGS = re.compile(r"_(bucket|sum|count|total)$")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (one["definition"] for one in DASHBOARD["templating"]["list"] if "definition" in one)
    yield from (rule["expr"] for rule in RULES)


def exported() -> set[str]:
    """The names of the samples that the service gives, as Prometheus stores them."""
    names: set[str] = set()
    for family in Telemetry().registry.collect():
        kinds = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + ending for ending in kinds.get(family.type, [""])}
    return names


def vllms() -> set[str]:
    """The names that stand in vLLM's own code; its classes need seconds to import."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    folder = Path(spec.origin).parent / "v1" / "metrics"
    texts = (file.read_text(encoding="utf-8") for file in folder.rglob("*.py"))
    return {name for text in texts for name in re.findall(r'"(vllm:[a-z_:]+)"', text)}


def promtool(*arguments: str) -> str:
    """What it says. Skips where it is not here."""
    program = find("promtool")
    if program is None:
        pytest.skip("promtool is not here: `make tools` fetches it from Debian")
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_metric_of_the_dashboard_and_the_alerts_is_exported() -> None:
    asked = {name for text in expressions() for name in METRIC.findall(text)} - LABELS
    ours = {name for name in asked if not name.startswith("vllm:")}
    assert ours - exported() == set()
    assert {ENDINGS.sub("", name) for name in asked - ours} - vllms() == set()
    assert len(ours) > 20


def test_the_dashboard_shows_every_metric_of_the_service() -> None:
    """But for one that is only for looking into a fault."""
    shown = {ENDINGS.sub("", n) for text in expressions() for n in METRIC.findall(text)}
    known = {family.name for family in Telemetry().registry.collect()}
    assert known - shown <= {"dslm_answer_notes_lost"}


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert {"Requests", "Retrieval", "Swaps and releases", "Domains", "Engines"} <= set(rows)
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"]
        assert panel["title"]
        used = {n for t in panel["targets"] for n in re.findall(r"\$(\w+)", t["expr"])}
        assert used - {"__rate_interval"} <= variables


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_prometheus_understands_every_question_of_the_dashboard(tmp_path: Path) -> None:
    texts = [target["expr"] for panel in panels() for target in panel["targets"]]
    plain = [text.replace("$__rate_interval", "5m").replace("$domain", ".*") for text in texts]
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(plain)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", "--lint=none", str(file))


def test_the_provisioned_dashboard_finds_its_data(tmp_path: Path) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))
    (source,) = sources["datasources"]
    compose = yaml.safe_load((DEPLOY / "compose" / "monitoring.yaml").read_text("utf-8"))
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "dslm.yaml").read_text("utf-8"))[
        "providers"
    ]
    mounts = [v.split(":")[1] for v in compose["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/dslm.json" in mounts


def test_prometheus_takes_its_configuration_and_the_alerts(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose" / "prometheus.yaml", tmp_path / "prometheus.yaml")
    shutil.copy(DEPLOY / "alerts" / "dslm.yaml", tmp_path / "alerts.yaml")
    said = promtool("check", "config", str(tmp_path / "prometheus.yaml"))
    assert f"{len(RULES)} rules found" in said


BUCKET = 'gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_request_model="x", le='
# What is to be seen before each alert fires: series of samples a minute apart, as promtool has it.
BAD = {
    "ServiceDown": ['up{job="dslm"} 0x30'],
    "NoEngine": ['dslm_engine_ready{engine="a"} 0x30', 'dslm_engine_ready{engine="b"} 0x30'],
    "EngineDown": ['dslm_engine_ready{engine="a"} 0x30', 'dslm_engine_ready{engine="b"} 1x30'],
    "EngineRestarts": ['dslm_engine_restarts_total{engine="a"} 0+1x30'],
    "SwapRefused": ['dslm_swaps_refused_total{domain="legal"} 0x24 1x5'],
    "DocumentsQuarantined": ['dslm_quarantined_documents{domain="legal"} 2x30'],
    "StoreFillsUp": ["dslm_store_free_bytes 10x30", "dslm_store_size_bytes 100x30"],
    "StoreFull": ["dslm_store_free_bytes 2x30", "dslm_store_size_bytes 100x30"],
    "AnswersFail": [
        'dslm_requests_total{domain="legal", status="200"} 0+9x30',
        'dslm_requests_total{domain="legal", status="503"} 0+1x30',
    ],
    "RequestsWait": ["dslm_queued 3x30"],
    "FirstTokenSlow": [f'{BUCKET}"5"}} 0x30', f'{BUCKET}"10"}} 0+5x30', f'{BUCKET}"+Inf"}} 0+5x30'],
    "CacheFull": ['vllm:kv_cache_usage_perc{instance="e"} 0.99x30'],
}
# All of it well: nothing may fire.
GOOD = [
    'up{job="dslm"} 1x30',
    'dslm_engine_ready{engine="a"} 1x30',
    'dslm_engine_ready{engine="b"} 1x10 0x1 1x30',
    'dslm_engine_restarts_total{engine="a"} 0x15 1x30',
    'dslm_swaps_refused_total{domain="legal"} 4x30',
    'dslm_quarantined_documents{domain="legal"} 0x30',
    "dslm_store_free_bytes 40x30",
    "dslm_store_size_bytes 100x30",
    'dslm_requests_total{domain="legal", status="200"} 0+900x30',
    'dslm_requests_total{domain="legal", status="503"} 0+1x30',
    "dslm_queued 3x2 0x30",
    f'{BUCKET}"5"}} 0+9x30',
    f'{BUCKET}"+Inf"}} 0+9x30',
    'vllm:kv_cache_usage_perc{instance="e"} 0.5x30',
]
# A full disk is one that fills up, too.
ALSO = {"StoreFull": ["StoreFillsUp"], "NoEngine": ["EngineDown"], "EngineDown": []}


def series(lines: list[str]) -> list[dict[str, str]]:
    return [dict(zip(("series", "values"), cut(line), strict=True)) for line in lines]


def cut(line: str) -> tuple[str, str]:
    """A series and its samples: the samples begin after the labels, or the name."""
    end = line.find("}") + 1 or line.find(" ")
    return line[:end], line[end:].strip()


def firing(name: str, lines: list[str]) -> dict[str, Any]:
    """A case in which, after 28 minutes, of all alerts this one fires and those that come along."""
    rules = "\n".join(
        f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}'
        for rule in RULES
        if rule["alert"] not in (name, *ALSO.get(name, []))
    ).split("\n")
    none = " or ".join(rules)
    wanted = f'count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}}) > bool 0'
    tests: list[dict[str, Any]] = [{"expr": none, "eval_time": "28m", "exp_samples": []}]
    if name:
        found = [{"labels": "{" + f'alertname="{name}"' + "}", "value": 1}]
        tests.append({"expr": wanted, "eval_time": "28m", "exp_samples": found})
    return {"interval": "1m", "input_series": series(lines), "promql_expr_test": tests}


def test_each_alert_fires_when_it_should_and_at_no_other_time(tmp_path: Path) -> None:
    assert set(BAD) == {rule["alert"] for rule in RULES}
    cases = [firing(name, lines) for name, lines in BAD.items()]
    tests = {
        "rule_files": [str(DEPLOY / "alerts" / "dslm.yaml")],
        "evaluation_interval": "1m",
        "tests": [*cases, firing("", GOOD)],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(tests), encoding="utf-8")
    promtool("test", "rules", str(file))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_a_section_in_the_runbook(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert f"\n## {name}\n" in RUNBOOK
    assert rule["annotations"]["runbook"] == f"deploy/docs/runbook.md#{name.lower()}"
    section = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert all(f"**{part}**" in section for part in ("Means", "Look", "Do"))
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_the_runbook_has_no_section_of_an_alert_that_does_not_exist() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == {r["alert"] for r in RULES}
