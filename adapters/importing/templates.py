"""Whether an adapter was trained on the words that the base will be sent: template and tokens.

vLLM takes tokenizer and template from the base, whatever lies beside an adapter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_BYTES: Final = 64 << 20
_ASKED: Final = {"role": "user", "content": "How much?"}
_PROBES: Final[Sequence[list[dict[str, str]]]] = (
    [_ASKED],
    [{"role": "system", "content": "Be brief."}, _ASKED],
    [_ASKED, {"role": "assistant", "content": "Two."}, _ASKED],
)


def check_template(folder: Path, base: BaseProfile) -> None:
    """AdapterRefused where files beside the adapter say that it learned on other tokens.

    Templates are compared by what they write, so one that only marks answers for training passes.
    """
    _check_tokens(folder, base)
    theirs, ours = _template(folder), _template(base.folder)
    if theirs is None or theirs == ours:
        return
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    for turns in _PROBES:
        trained, served = (_written(tokenizer, turns, text) for text in (theirs, ours))
        if trained != served:
            raise AdapterRefused(
                f"The chat template beside the adapter writes {trained!r:.200},"
                f" the base's {served!r:.200}",
                "Train it in the base's template, or serve the base with that one; delete the"
                " template beside the adapter if it was not trained with it",
            )


def _check_tokens(folder: Path, base: BaseProfile) -> None:
    ours, theirs = (_added(place) for place in (base.folder, folder))
    own = sorted(set(theirs) - set(ours))
    moved = sorted(one for one in theirs if one in ours and ours[one] != theirs[one])
    if own and ours:
        raise AdapterRefused(
            f"The adapter's tokenizer has tokens that the base lacks: {', '.join(own)[:200]}",
            "Train it without new tokens: the engine uses the base's tokenizer",
        )
    if moved:
        raise AdapterRefused(
            f"The adapter's tokenizer gives {moved[0]} another number than the base's",
            "Train it with the base's tokenizer",
        )


def _added(folder: Path) -> dict[str, int]:
    """The tokens that a tokenizer got beside its vocabulary, with their numbers."""
    added = _json(folder / "tokenizer.json").get("added_tokens")
    rows = [one for one in added if isinstance(one, dict)] if isinstance(added, list) else []
    return {str(one.get("content")): int(one.get("id", -1)) for one in rows}


def _template(folder: Path) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _read(path).decode(errors="replace")
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    return found if isinstance(found, str) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(path)) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise AdapterRefused(f"{path} is not JSON ({error})", "Delete it") from error
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise AdapterRefused(f"{path} is larger than {_MOST_BYTES} bytes", "Delete it")
    return content


def _written(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], template: str | None
) -> str:
    """What a template makes of a conversation, or that it makes nothing of it."""
    from jinja2.exceptions import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=True
            )
        )
    except (TemplateError, TypeError, ValueError):
        return "an error"
