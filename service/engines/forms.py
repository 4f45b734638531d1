"""How a base is held to a form: calls of tools as its chat template writes them, and compact JSON.

The template is what the base was trained with, so it tells more than a name: finetunes and folders
have any name. Where nothing is known vLLM gets no parser, and refuses requests that need one.
"""

from collections.abc import Mapping
from typing import Any, Final

from adapters.base import find_base, tool_template

AUTO: Final = "auto"
NONE: Final = "none"
# A parser of vLLM, and what a template holds whose base writes calls as that parser reads them.
# The first that fits counts: `<tool_call>` stands in several, and means Hermes where nothing else
# does (Qwen 2.5 and 3, Hermes, Granite 4). Phi-4-mini's is left out: it streams no text.
PARSERS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("minimax_m2", ("<minimax:tool_call>",)),
    ("seed_oss", ("<seed:tool_call>",)),
    ("functiongemma", ("<start_function_call>",)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("kimi_k2", ("<|tool_calls_section_begin|>",)),
    ("openai", ("<|channel|>", "functions.")),
    ("deepseek_v3", ("tool▁calls▁begin", "```json")),
    ("deepseek_v31", ("tool▁calls▁begin",)),
    ("granite", ("<|tool_call|>",)),
    ("internlm", ("<|action_start|>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    ("llama4_pythonic", ("<|python_start|>",)),
    ("llama3_json", ("<|python_tag|>",)),
    ("llama3_json", ("<|eot_id|>", '"parameters"')),
    ("olmo3", ("<function_calls>",)),
    ("glm45", ("<tool_call>", "<arg_key>")),
    ("qwen3_coder", ("<tool_call>", "<function=")),
    ("hermes", ("<tool_call>",)),
    ("granite-20b-fc", ("<function_call>",)),
)
PARSER_FLAG: Final = "--tool-call-parser"
STRICT_FLAG: Final = "--tool-strict-level"
FORM_FLAG: Final = "--structured-outputs-config"


def shows_tools(template: str) -> bool:
    """Does a base learn from this template that there are tools?"""
    return "tools" in template


def parser_of(template: str) -> str | None:
    """vLLM's parser for what a base with this template writes; None where nobody knows."""
    if not shows_tools(template):
        return None
    plain = template.replace('\\"', '"')  # as it stands within JSON
    fits = (name for name, marks in PARSERS if all(mark in plain for mark in marks))
    return next(fits, None)


def form_flags(base: str, parser: str, compact: bool, given: list[str]) -> list[str]:
    """vLLM's arguments for tools and JSON; those in `given` have their way.

    `base`: a folder or a hub id; `parser`: one of vLLM's, `auto` or `none`. Arguments of a call
    keep to the tool's schema even where the tool does not say `strict`. `compact`: no blanks
    between the parts of JSON, with which a small base would fill its answer; one backend knows how.
    """
    flags = []
    name = parser_of(tool_template(find_base(base))) if parser == AUTO else parser
    if name not in (None, NONE) and not _has(given, PARSER_FLAG):
        flags += ["--enable-auto-tool-choice", PARSER_FLAG, str(name)]
        flags += [] if _has(given, STRICT_FLAG) else [STRICT_FLAG, "parameter"]
    if compact and not _has(given, FORM_FLAG):
        flags += [FORM_FLAG, '{"backend": "xgrammar", "disable_any_whitespace": true}']
    return flags


def form_of(payload: Mapping[str, Any]) -> str | None:
    """The field by which a form was asked for that has to be compiled; None if there is none.

    A choice among texts always can be: it is also how `verbatim` asks.
    """
    wanted = payload.get("response_format")
    if wanted and wanted["type"] != "text":
        return "response_format"
    if set(payload.get("structured_outputs") or ()) - {"choice"}:
        return "structured_outputs"
    if payload.get("tools") and payload.get("tool_choice") != "none":
        return "tools"
    return None


def _has(given: list[str], flag: str) -> bool:
    """Also where it is shortened, as argparse allows, or names a part of a setting."""
    names = (one.partition("=")[0].partition(".")[0].replace("_", "-") for one in given)
    return any(len(name) > 6 and flag.startswith(name) for name in names)
