"""What `dslm doctor` says of engines: each base, who serves it, and the plan of the memory."""

import urllib.error
import urllib.request
from collections.abc import Iterator

from adapters.base import BaseProfile
from adapters.errors import BaseRefused
from indexer.domain import load_domains
from indexer.errors import DslmError
from service.engines.bases import serve
from service.engines.entries import EngineEntry, check_bases, read_entries
from service.engines.external import bearer
from service.engines.planned import plan_memory
from service.engines.units import secret
from service.finding import Finding
from service.settings import ServiceSettings

LOOK_SECONDS = 3.0


def check_engines(settings: ServiceSettings) -> Iterator[Finding]:
    """Each base, each address, and whether all of it fits this machine."""
    try:
        entries = read_entries(settings)
        domains = load_domains(settings.domains)
        check_bases(entries, domains)
    except DslmError as error:
        yield Finding("FAIL", "engines", error.message, error.remedy)
        return
    found = [finding for entry in entries.values() for finding in check_entry(entry)]
    yield from found
    if any(one.subject == "base" and one.level == "FAIL" for one in found):
        return  # the plan would say the same once more
    try:
        bases = {name: serve(entry, settings) for name, entry in entries.items()}
        plan = plan_memory(bases, settings, domains)
    except DslmError as error:
        yield Finding("FAIL", "memory", error.message, error.remedy)
        return
    for line in plan.lines:
        yield Finding("warn" if "warning:" in line else "ok", "memory", line)


def check_entry(entry: EngineEntry) -> Iterator[Finding]:
    """A base's files, or an external model's key, and every address."""
    if entry.base is not None:
        yield check_base(entry.base)
    else:
        said = f"{entry.name}: external, {entry.called}, context {entry.context}"
        yield Finding("ok", "base", said)
    try:
        key = secret(entry)
    except DslmError as error:
        yield Finding("FAIL", "engine", error.message, error.remedy)
        return
    for url in entry.urls:
        path = "/v1/models" if entry.external else "/health"
        yield check_address(entry.name, url, path, key)


def check_base(base: str) -> Finding:
    try:
        profile = BaseProfile.read(base)
    except BaseRefused as error:
        return Finding("FAIL", "base", error.message, error.remedy)
    return Finding("ok", "base", f"{profile.name}, context {profile.context}, {profile.folder}")


def check_address(name: str, url: str, path: str, key: str) -> Finding:
    """A warning where nobody answers: it may come later."""
    asked = urllib.request.Request(f"{url}{path}", headers=bearer(key))
    try:
        with urllib.request.urlopen(asked, timeout=LOOK_SECONDS) as reply:
            return Finding("ok", "engine", f"{name}: {url} answers {reply.status}")
    except urllib.error.HTTPError as error:
        said = f"{name}: {url} answers {error.code}"
        if error.code in (401, 403):
            return Finding("FAIL", "engine", said, "Check the variable that `key` names")
        if error.code == 404 and path != "/health":  # not every such API lists its models
            return Finding("ok", "engine", said)
        return Finding("warn", "engine", said, "See its log")
    except OSError as error:
        return Finding("warn", "engine", f"{name}: {url} does not answer ({error})", "Start it")
