"""What vLLM is told about tools and JSON, by the base's own chat template."""

from pathlib import Path

import pytest

from deploy.demo.base.vocabulary import CHAT_TEMPLATE, TOOL_TEMPLATE
from service.engines.forms import form_flags, parser_of

DEMO = Path(__file__).parents[2] / "deploy" / "demo" / "model"
QWEN = """{%- if tools %}<tools>{{ tools }}</tools> within <tool_call></tool_call> XML tags:
<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>{% endif %}"""
# What is told apart by little: the marks as the published templates have them.
TEMPLATES = {
    "hermes": QWEN,
    "qwen3_coder": "{{ tools }}<tool_call>\n<function=example>\n<parameter=a>",
    "glm45": "{{ tools }}<tool_call>{name}\n<arg_key>{key}</arg_key>",
    "mistral": "{{ tools }}[AVAILABLE_TOOLS] [TOOL_CALLS]",
    "llama3_json": '{% if tools %}<|eot_id|>{"name": function name, "parameters": {}}',
    "llama4_pythonic": "{{ tools }}<|python_start|>[f(a=1)]<|python_end|><|eot|>",
    "deepseek_v3": "{{ tools }}tool▁calls▁begin```json",
    "deepseek_v31": "{{ tools }}tool▁calls▁begin",
    "kimi_k2": "{{ tools }}<|tool_calls_section_begin|>",
    "openai": "{{ tools }}to=functions.x<|channel|>commentary",
    "granite": "{{ tools }}<|tool_call|>",
}


@pytest.mark.parametrize(("name", "template"), TEMPLATES.items())
def test_a_template_tells_how_its_base_writes_calls(name: str, template: str) -> None:
    assert parser_of(template) == name


def test_a_template_within_json_tells_the_same() -> None:
    assert parser_of('"{% if tools %}<|eot_id|>{\\"name\\": x, \\"parameters\\": {}}"')


@pytest.mark.parametrize("template", ["{{ messages }}", CHAT_TEMPLATE, "{{ tools }}: call them"])
def test_where_nothing_is_known_vllm_gets_no_parser(template: str) -> None:
    assert parser_of(template) is None


def test_the_shipped_templates_are_those_of_the_training_code() -> None:
    tools = DEMO / "additional_chat_templates" / "tool_use.jinja"
    assert tools.read_text(encoding="utf-8") == TOOL_TEMPLATE
    assert (DEMO / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE


def test_the_shipped_base_gets_its_parser_and_writes_compact_json() -> None:
    flags = form_flags(str(DEMO), "auto", True, [])
    assert flags[:3] == ["--enable-auto-tool-choice", "--tool-call-parser", "granite-20b-fc"]
    assert "disable_any_whitespace" in flags[-1]
    assert form_flags(str(DEMO), "none", False, []) == []
    assert form_flags(str(DEMO), "mistral", False, [])[2] == "mistral"


@pytest.mark.parametrize(
    "given",
    [
        ["--tool-call-parser", "hermes", "--structured-outputs-config={}"],
        ["--tool_call_parser=hermes", "--structured-outputs-config.backend", "guidance"],
        ["--tool-call=hermes", "--structured-outputs-conf", "{}"],
    ],
)
def test_what_is_given_has_its_way(given: list[str]) -> None:
    assert form_flags(str(DEMO), "auto", True, given) == []
