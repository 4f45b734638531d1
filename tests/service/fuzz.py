"""`make fuzz`: the service's own OpenAPI document, called in every way that it allows and forbids.

schemathesis makes the calls; whatever comes back must be described: no 5xx, no status, media type
or body that the document does not name, and nothing that it forbids accepted.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks as described

from service.child import ChildSettings
from tests.service.product import Product, index, running, write_domains

# What is no fault of the document: JSON schema has no words for rules between fields, so that a
# body which it allows may still get a 400.
CHECKS = [
    not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
    described.negative_data_rejection,
    described.unsupported_method,
    described.allow_header_conformance,
]
DOMAINS = ("garden", "pantry")
MODELS = ("garden", "pantry", "base", "garden@1", "nobody")
# An indexing job would take seconds; this one reports and ends.
CHILD = 'import json; print(json.dumps({"event": "plan", "files": 0})); print("{}")'


@dataclass
class Tally:
    """What came of the calls: by status, and every kind of failure with its first example."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return self.statuses.total()

    def lines(self) -> Iterator[str]:
        for label, count in self.operations.items():
            yield f"{count:7}  {label}"
        for status, count in sorted(self.statuses.items()):
            yield f"{count:7}  answered {status}"
        yield f"{self.calls:7}  calls, {len(self.failures)} kinds of failure"
        yield from (f"\n{title}\n{text}" for title, text in self.failures.items())


@contextmanager
def fuzzed(folder: Path) -> Iterator[Product]:
    """The service over two small domains, its engine well."""
    domains = write_domains(folder / "domains")
    index(folder / "store", domains)
    with running(folder / "store", domains) as product, short_jobs(product):
        yield product


@contextmanager
def short_jobs(product: Product) -> Iterator[None]:
    """Jobs that report and end, for the block."""
    jobs = product.service.jobs
    real = jobs._child
    jobs._child = ChildSettings(dict(os.environ), (sys.executable, "-c", CHILD))
    try:
        yield
    finally:
        jobs._child = real


def fuzz(
    product: Product, calls: int, seed: int = 0, tell: Callable[[str], None] = lambda _: None
) -> Tally:
    """Spread `calls` over all operations, half of them valid and half not; `tell`: how it goes."""
    schema = schemathesis.openapi.from_url(f"{product.url}/openapi.json")
    every = list(schema.get_all_operations())
    found = [result.ok() for result in every if isinstance(result, Ok)]
    assert len(found) == len(every), "the document cannot be read"
    tally = Tally()
    with requests.Session() as session:
        for operation in found:
            each = max(1, 2 * calls // len(found) // 4)
            for mode in GenerationMode:
                for path in ({}, {"domain": DOMAINS[0]}):
                    strategy = operation.as_strategy(mode, path_parameters=path or None)
                    _try(strategy, each, seed, operation.label, tally, session, mode)
            tell(
                f"{tally.calls:7} calls, {len(tally.failures)} kinds of failure, {operation.label}"
            )
    return tally


def _try(
    strategy: Any,
    count: int,
    seed: int,
    label: str,
    tally: Tally,
    session: requests.Session,
    mode: GenerationMode,
) -> None:
    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def call(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            _steer(case, tally.calls)
        response = case.call(session=session, timeout=30)
        tally.statuses[response.status_code] += 1
        tally.operations[label] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as failed:
            for one in failed.exceptions:
                said = f"{case.as_curl_command()[:2000]}\n{response.status_code} "
                tally.failures.setdefault(f"{label}: {one.title}", f"{one}\n{said}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except hypothesis.errors.Unsatisfiable:
            return  # nothing can be wrong with an operation that takes nothing


def _steer(case: Any, turn: int) -> None:
    """Of names made at random nearly all are unknown: most calls get one that is known."""
    if isinstance(case.body, dict) and "model" in case.body and turn % 8:
        case.body["model"] = MODELS[turn % len(MODELS)]
        if turn % 2 and "messages" in case.body:
            case.body["messages"] = [{"role": "user", "content": "When do I prune roses?"}]


def main() -> int:
    """Print what came of it; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, fuzzed(Path(folder)) as product:
        tally = fuzz(product, wanted.calls, wanted.seed, lambda line: print(line, flush=True))  # noqa: T201
    print("\n".join(tally.lines()), f"\nin {time.monotonic() - began:.0f} s")  # noqa: T201
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
