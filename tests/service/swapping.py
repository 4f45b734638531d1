"""What the tests of swaps do to a running service on real vLLM, and read from it."""

import json
from typing import Any

import httpx

from tests.live import LiveService

LONG: dict[str, Any] = {
    "model": "support",
    "messages": [{"role": "user", "content": "How do I clean the machine?"}],
    "dslm": {"passages": False, "demonstrations": False},
    "max_tokens": 400,
    "ignore_eos": True,
    "temperature": 0,
    "seed": 1,
}


def set_adapter(live: LiveService, reference: str | None) -> dict[str, Any]:
    response = httpx.put(
        f"{live.url}/v1/domains/support/adapter", json={"adapter": reference}, timeout=60
    )
    response.raise_for_status()
    release: dict[str, Any] = response.json()
    return release


def read(live: LiveService, body: dict[str, Any], after: int = 0, then: Any = None) -> str:
    """The stream's text, ids and dates apart; `then` is called after so many lines."""
    lines = []
    with httpx.stream(
        "POST", f"{live.url}/v1/chat/completions", json={**body, "stream": True}, timeout=120
    ) as response:
        for number, line in enumerate(response.iter_lines()):
            lines.append(line)
            if then and number == after:
                then()
    return "\n".join(lines)


def content(streamed: str) -> str:
    """The text of all chunks; where one ends vLLM decides by what else is running."""
    lines = [line[6:] for line in streamed.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def registered(live: LiveService, prefix: str, *, whole: bool = False) -> list[str]:
    """What the engine knows of an adapter's versions; `whole` names differ by each load."""
    cards = httpx.get(f"{live.engine_url}/v1/models").json()["data"]
    names = [card["id"] for card in cards if card["parent"] and card["id"].startswith(prefix)]
    return sorted(names if whole else {name.split(".")[0] for name in names})
