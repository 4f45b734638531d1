"""What the product is made of and under which licences, as CycloneDX: `make sbom`.

The packages are those that serving needs (an extra may be named), in the versions installed here,
which are the pinned ones. A licence that is not among the allowed ones is an error: default deny.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from deploy.setup.serving import asked_by, needed, top_level

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "License :: OSI Approved :: "
# As packages write it in prose or in classifiers, and as SPDX has it.
SPOKEN = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache v2": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
# What may be given on with a product, with its notices. MPL binds changes of its own files only.
ALLOWED = frozenset(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 CNRI-Python HPND ISC MIT MIT-0 "
    "MIT-CMU MPL-2.0 PSF-2.0 Python-2.0 Unlicense Zlib".split()
)
# Read in the packages' own files, since what they declare is nothing, or more than a name.
READ = {
    "httpx-aiohttp": "BSD-3-Clause",
    "oss-harmony": "Apache-2.0",
    "pypdfium2": "BSD-3-Clause AND Apache-2.0",
    "setuptools": "MIT",
}
# Each allowed for itself: LGPL since it is used unchanged and can be replaced; Intel's libraries
# may be given on with a product as they are; supervisor's is BSD with a clause about its name.
ACCEPTED = {
    "intel-cmplr-lib-ur": "LicenseRef-Intel-Developer-Tools",
    "intel-openmp": "LicenseRef-Intel-Developer-Tools",
    "pycountry": "LGPL-2.1-only",
    "python-stdnum": "LGPL-2.1-or-later",
    "supervisor": "LicenseRef-repoze",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One package of the product. `licence`: an SPDX expression, or what the package says."""

    name: str
    version: str
    licence: str
    needs: tuple[str, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"


def main() -> int:
    """Exit code 0, or 1 with a line for each package whose licence is not allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", default=["cpu"], help="extras of pyproject.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "sbom.cdx.json")
    given = parser.parse_args()
    parts = list(made_of(given.extras))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(bill(parts), indent=1) + "\n", encoding="utf-8")
    for part in parts:
        print(f"{part.name:40} {part.version:24} {part.licence}")
    denied = [part for part in parts if not allowed(part)]
    for part in denied:
        print(
            f"error: {part.name} {part.version}: '{part.licence}' is not allowed", file=sys.stderr
        )
    print(f"{len(parts)} packages, {len(denied)} with a licence that is not allowed: {given.out}")
    return 1 if denied else 0


def made_of(extras: list[str]) -> Iterator[Part]:
    """By name. What is needed and not here (CUDA's builds on a CPU host) is not part of it."""
    for name in sorted(needed(top_level(extras))):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        needs = {str(canonicalize_name(one.name)) for one in asked_by(name, frozenset())}
        said = READ.get(name) or ACCEPTED.get(name) or licence(found)
        yield Part(name, found.version, said, tuple(sorted(needs)))


def licence(found: Distribution) -> str:
    """SPDX where the package says so, or says what is known to mean it; `unknown` if it is mum."""
    told: dict[str, Any] = found.metadata.json
    if told.get("license_expression"):
        return str(told["license_expression"])
    classified = [line for line in told.get("classifier", []) if line.startswith(PREFIX)]
    named = [line.removeprefix(PREFIX) for line in classified]
    lines = str(told.get("license") or "").strip().splitlines()
    spoken = named or lines[:1]
    return " AND ".join(SPOKEN.get(one.lower().strip(), one.strip()) for one in spoken) or "unknown"


def allowed(part: Part) -> bool:
    """Every licence joined by AND, and one of those joined by OR; exceptions only allow more."""
    plain = re.sub(r"[()]", " ", re.sub(r" WITH \S+", "", part.licence))
    return part.name in ACCEPTED or all(
        any(one.strip() in ALLOWED for one in choice.split(" OR "))
        for choice in plain.split(" AND ")
    )


def bill(parts: list[Part]) -> dict[str, Any]:
    """CycloneDX 1.6 (ECMA-424). The serial number follows from the content."""
    known = {part.name: part for part in parts}
    digest = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(part.purl for part in parts))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{digest}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "dslm", "bom-ref": "dslm"}},
        "components": [component(part) for part in parts],
        "dependencies": [
            {"ref": part.purl, "dependsOn": [known[one].purl for one in part.needs if one in known]}
            for part in parts
        ],
    }


def component(part: Part) -> dict[str, Any]:
    spdx = part.name in ACCEPTED or all(
        one.strip(" ()") in ALLOWED
        for one in re.split(r" AND | OR | WITH \S+", part.licence)
        if one
    )
    said = {"expression": part.licence} if spdx else {"license": {"name": part.licence}}
    return {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "licenses": [said],
    }


if __name__ == "__main__":
    sys.exit(main())
