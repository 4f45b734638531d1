"""Records of a study, as asking leaves them, made without asking."""

from typing import Any

from eval.study.results import Record


def record(condition: str, item: str, **changes: Any) -> Record:
    """A right answer that stopped by itself, but for `changes`."""
    told: dict[str, Any] = {
        "task": "t",
        "condition": condition,
        "seed": 1,
        "item": item,
        "messages": [{"role": "user", "content": f"{item}?"}],
        "expected": "x",
        "answer": "x",
        "score": 1.0,
        "found": "x",
        "rule": "exact",
        "finish_reason": "stop",
        "tokens_in": 1,
        "tokens_out": 1,
        "seconds": 0.1,
        **changes,
    }
    return Record.model_validate(told)
