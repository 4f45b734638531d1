"""Ollama's Modelfile, its template derived from the base's own chat template and compared with it.

Ollama writes prompts by a Go template, the engine by a Jinja one. The pieces between the turns are
read off what the Jinja template writes; where they do not fit together again there is no template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError

from adapters.templates import takes_system, without_system

if TYPE_CHECKING:
    from adapters.base import BaseProfile

_SYSTEM, _FIRST, _ANSWER, _SECOND = "QSYSTEMQ", "QFIRSTQ", "QANSWERQ", "QSECONDQ"
_UNSAYABLE: Final = ("{{", "}}", '"""')
Turns = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands around the texts of a conversation: before and after each role's.

    `start` opens one without a system text; `opening` lets the answer begin.
    """

    start: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    opening: str

    def render(self, turns: Turns) -> str:
        """As Ollama would: the system text first, then the turns."""
        said = {"user": self.user, "assistant": self.assistant}
        rest = [turn for turn in turns if turn["role"] != "system"]
        first = [turn["content"] for turn in turns if turn["role"] == "system"]
        text = f"{self.system[0]}{first[0]}{self.system[1]}" if first else self.start
        for turn in rest:
            before, after = said[turn["role"]]
            text += f"{before}{turn['content']}{after}"
        return text + self.opening

    def template(self) -> str:
        """In the language of Go's text/template."""
        return (
            f"{{{{ if .System }}}}{self.system[0]}{{{{ .System }}}}{self.system[1]}"
            f"{{{{ else }}}}{self.start}{{{{ end }}}}{{{{ range .Messages }}}}"
            f'{{{{ if eq .Role "user" }}}}{self.user[0]}{{{{ .Content }}}}{self.user[1]}'
            f'{{{{ else if eq .Role "assistant" }}}}{self.assistant[0]}{{{{ .Content }}}}'
            f"{self.assistant[1]}{{{{ end }}}}{{{{ end }}}}{self.opening}"
        )


def pieces_of(tokenizer: Any) -> Pieces | None:
    """None where the template does more than to stand around the turns."""

    def write(*turns: tuple[str, str], opened: bool = False) -> str:
        return _written(tokenizer, turns, opened=opened)

    asked, said, more = ("user", _FIRST), ("assistant", _ANSWER), ("user", _SECOND)
    try:
        start, between, after, end = _parts(write(asked, said, more), _FIRST, _ANSWER, _SECOND)
        before, told, _ = _parts(write(("system", _SYSTEM), asked), _SYSTEM, _FIRST)
        closing = _parts(write(asked, said), _ANSWER)[-1]
        closed, opened = write(asked), write(asked, opened=True)
    except (ValueError, TemplateError):
        return None
    if not opened.startswith(closed) or not between.startswith(end):
        return None
    # A system text may stand inside the first question: then less of what is before is the user's.
    for user in (after.removeprefix(closing), _common_end(start, after, told)):
        made = Pieces(
            start=start.removesuffix(user),
            system=(before, told.removesuffix(user)),
            user=(user, end),
            assistant=(between.removeprefix(end), after.removesuffix(user)),
            opening=opened.removeprefix(closed),
        )
        if _fits(made, write) and not _is_unsayable(made):
            return made
    return None


def _written(tokenizer: Any, turns: Sequence[tuple[str, str]], *, opened: bool) -> str:
    """As the engine is sent it: a system text before the question where there is no such role."""
    said: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in turns]
    if said[0]["role"] == "system" and not takes_system(tokenizer):
        said = without_system(said)
    return str(
        tokenizer.apply_chat_template(
            said, add_generation_prompt=opened, tokenize=False, enable_thinking=False
        )
    )


def _fits(made: Pieces, write: Any) -> bool:
    """Do other conversations come out the same?"""
    asked, said, more = ("user", "How much?"), ("assistant", "Two."), ("user", "And now?")
    told = ("system", "Be brief.")
    for turns in ((asked,), (told, asked), (asked, said, more), (told, asked, said, more)):
        wanted = write(*turns, opened=True)
        if made.render([{"role": role, "content": text} for role, text in turns]) != wanted:
            return False
    return True


def _is_unsayable(made: Pieces) -> bool:
    every = [made.start, *made.system, *made.user, *made.assistant, made.opening]
    return any(mark in piece for piece in every for mark in _UNSAYABLE)


def _parts(text: str, *marks: str) -> list[str]:
    """What stands before, between and after the marks; ValueError if one is not there once."""
    found = []
    for mark in marks:
        if text.count(mark) != 1:
            raise ValueError(mark)
        piece, _, text = text.partition(mark)
        found.append(piece)
    return [*found, text]


def _common_end(*texts: str) -> str:
    size = 0
    while size < min(map(len, texts)) and len({text[-size - 1 :] for text in texts}) == 1:
        size += 1
    return texts[0][len(texts[0]) - size :]


def modelfile(base: BaseProfile, gguf: str, system: str = "") -> str:
    """The Modelfile beside a GGUF file; says so where Ollama cannot write the base's prompts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    pieces = pieces_of(tokenizer)
    lines = [f"FROM ./{gguf}", f"PARAMETER num_ctx {base.context}", "PARAMETER temperature 0"]
    lines += [f"PARAMETER stop {json.dumps(stop)}" for stop in _stops(base, tokenizer)]
    if pieces is None:
        lines.append("# Ollama cannot write this chat template; llama.cpp reads the GGUF's own.")
    else:
        template = pieces.template()
        lines.append(f'TEMPLATE """{_without_start(template, tokenizer)}"""')
    if system:
        lines.append('SYSTEM """' + system.replace('"""', "'''") + '"""')
    return "\n".join(lines) + "\n"


def _without_start(template: str, tokenizer: Any) -> str:
    """Without the token that llama.cpp itself puts before every prompt."""
    first = tokenizer.bos_token
    adds = bool(first) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return template.replace(first, "") if adds else template


def _stops(base: BaseProfile, tokenizer: Any) -> list[str]:
    """The tokens that end an answer, as the base's own settings name them."""
    path = base.folder / "generation_config.json"
    said = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.is_file() else None
    listed = said if isinstance(said, list) else [said]
    numbers = {tokenizer.eos_token_id, *listed} - {None}
    return [str(tokenizer.convert_ids_to_tokens(number)) for number in sorted(numbers)]
