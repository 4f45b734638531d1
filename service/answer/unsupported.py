"""OpenAI's fields that this service knows and cannot honour: refused by name, never dropped."""

from collections.abc import Mapping
from typing import Any

from service.errors import Unsupported

CHAT: Mapping[str, str] = {
    "functions": "Send `tools`: functions were replaced by them",
    "function_call": "Send `tool_choice`: it replaced this field",
    "audio": "The base writes text only",
    "prediction": "Leave it out: nothing is sped up by it here",
    "web_search_options": "A domain's own documents are searched; the web is not",
    "moderation": "Leave it out: nothing is moderated here",
    "prompt_cache_options": "Leave it out: prefixes are cached by themselves",
}
COMPLETION: Mapping[str, str] = {
    "suffix": "The base continues a text and cannot fill a gap in it",
}
EMBEDDING: Mapping[str, str] = {}

# The only values, besides null, of fields that ask for something.
ONLY: Mapping[str, tuple[object, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "prompt_cache_retention": ("in_memory",),
}
WHY: Mapping[str, str] = {
    "store": "Answers are not kept",
    "service_tier": "There is one tier",
    "modalities": "The base writes text only",
    "verbosity": "Say in a system message how long the answer may be",
    "prompt_cache_retention": "How long prefixes stay cached cannot be chosen",
}
PARTS = ("image_url", "input_audio", "file", "video_url", "input_image", "image")


def refuse(body: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """Raise Unsupported for the first field that asks for what there is not."""
    for name, remedy in fields.items():
        if body.get(name) is not None:
            raise Unsupported(f"`{name}` is not supported", remedy, param=name)


def refuse_values(body: Mapping[str, Any]) -> None:
    """Raise Unsupported for a known field with a value that cannot be honoured."""
    for name, allowed in ONLY.items():
        value = body.get(name)
        if value is not None and value not in allowed:
            shown = ", ".join(map(repr, allowed))
            message = f"`{name}` = {value!r:.60} is not supported, only {shown}"
            raise Unsupported(message, WHY[name], param=name)


def refuse_parts(messages: object) -> None:
    """Raise Unsupported for a picture, sound or file among the messages, and old call fields."""
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        if message.get("role") == "function" or message.get("function_call"):
            where = f"messages[{number}]"
            remedy = "Send `tool_calls` and role `tool`: they replaced them"
            raise Unsupported("Function turns are not supported", remedy, param=where)
        parts = message.get("content")
        for place, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and part.get("type") in PARTS:
                where = f"messages[{number}].content[{place}]"
                message_text = f"A content part of type `{part['type']}` is not supported"
                raise Unsupported(message_text, "The base reads text only", param=where)
