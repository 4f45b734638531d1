"""Lists in OpenAI's form."""

from typing import Any


def page(cards: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A list as OpenAI's are: the first `limit` of the cards."""
    shown = cards[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(cards) > limit,
    }
