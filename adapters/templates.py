"""What the chat templates of some families cannot say, and how it is said to them instead.

Training and serving both go through here, so that an adapter sees in its prompts what it learned.
The tokenizer comes in; nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Qwen 3 and others think aloud unless told not to; adapters learn answers. No template minds it.
THINKING: Final = "enable_thinking"
THOUGHT: Final = "<think>"
_MARK: Final = "be brief"


def takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Does a system message reach the base, and stay where it is once the question is answered?

    Gemma 2 refuses one; Mistral shows it with the last turn alone, and only if that is a question.
    """
    turns = [
        {"role": "system", "content": _MARK},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    try:
        return _MARK in str(tokenizer.apply_chat_template(turns, tokenize=False))
    except TemplateError:
        return False


def without_system(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation with its system text before the first question, as Gemma 3 has it."""
    turns = [dict(one) for one in messages]
    if len(turns) < 2 or turns[0]["role"] != "system":
        return turns
    said, first = turns[0]["content"], turns[1]
    if isinstance(first["content"], str):
        first["content"] = f"{said}\n\n{first['content']}"
    else:
        first["content"] = [{"type": "text", "text": f"{said}\n\n"}, *first["content"]]
    return turns[1:]


def encoded(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], *, opened: bool
) -> list[int]:
    """Tokens of a conversation as an engine makes them; `opened`: an answer is to follow."""
    turns = [dict(one) for one in messages]
    if turns and turns[0]["role"] == "system" and not takes_system(tokenizer):
        turns = without_system(turns)
    found = tokenizer.apply_chat_template(
        turns,
        add_generation_prompt=opened,
        tokenize=True,
        return_dict=True,
        enable_thinking=False,
    )
    return list(found["input_ids"])


def answered(
    tokenizer: PreTrainedTokenizerBase, asked: Sequence[int], solved: Sequence[int]
) -> list[int] | None:
    """The question with its answer, token by token after what the engine is asked.

    DeepSeek's template opens a thought before an answer and leaves it out of answers given: there
    the answer follows the opened thought. None where a template changes the question otherwise.
    """
    if list(solved[: len(asked)]) == list(asked):
        return list(solved)
    same = 0
    while same < min(len(asked), len(solved)) and asked[same] == solved[same]:
        same += 1
    if str(tokenizer.decode(list(asked[same:]))).strip() == THOUGHT:
        return [*asked, *solved[same:]]
    return None
