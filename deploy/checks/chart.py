"""Write the settings of the service into the schema of the Helm chart's values, from their own.

So `helm install` refuses a setting that does not exist, or a value that the service would refuse.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.settings import ServiceSettings

SCHEMA = Path(__file__).resolve().parents[1] / "helm" / "dslm" / "values.schema.json"
# What the chart itself decides: where things lie and who talks to whom.
CHARTS = frozenset(
    "host port store base domains keys allow_open engine_urls engine_port drain_seconds".split()
)
KEPT = (
    *("type", "anyOf", "enum", "description"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
)


def main() -> int:
    """Exit code 0; the file is written only where it changes."""
    old = SCHEMA.read_text(encoding="utf-8")
    new = with_settings(old)
    if new != old:
        SCHEMA.write_text(new, encoding="utf-8")
        print(f"{SCHEMA.name} written anew")
    return 0


def with_settings(text: str) -> str:
    """The schema, with today's settings of the service."""
    schema: dict[str, Any] = json.loads(text)
    schema["properties"]["service"]["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": settings(),
    }
    return json.dumps(schema, indent=2) + "\n"


def settings() -> dict[str, Any]:
    known = ServiceSettings.model_json_schema()["properties"]
    return {
        name: {key: said[key] for key in KEPT if key in said}
        for name, said in known.items()
        if name not in CHARTS
    }


if __name__ == "__main__":
    sys.exit(main())
