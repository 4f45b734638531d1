"""What a caller may ask of an answer's form: tools to call, or a JSON schema to keep to."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.answer.body import Body

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class Function(Body):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    name: Name


class NamedTool(Body):
    """`tool_choice`: this tool and no other."""

    type: Literal["function"]
    function: NamedFunction


class Allowed(Body):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1)]


class AllowedTools(Body):
    """`tool_choice`: some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


Picked = Annotated[NamedTool | AllowedTools, Field(discriminator="type")]
Choice = Literal["none", "auto", "required"] | Picked


class PlainText(Body):
    type: Literal["text"]


class JsonObject(Body):
    type: Literal["json_object"]


class NamedSchema(Body):
    """Without a schema there would be nothing to keep to."""

    name: Name
    description: str | None = None
    wanted: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class JsonSchema(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


class StructuralTag(Body):
    """vLLM's own; its content is the engine's to check."""

    model_config = ConfigDict(extra="allow")
    type: Literal["structural_tag"]


Format = Annotated[PlainText | JsonObject | JsonSchema | StructuralTag, Field(discriminator="type")]
