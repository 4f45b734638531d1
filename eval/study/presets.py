"""Published test sets: how each is asked and scored unless a study says otherwise. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["number", "label", "choice", "quote", "span", "text"]
Format: TypeAlias = Literal[
    "jsonl",
    "gsm8k",
    "healthcaremagic",
    "beeradvocate",
    "banking77",
    "pubmedqa",
    "multiple_choice",
    "squad",
    "medquad",
]

# What reads an answer of each kind; a new number means that the same answer may score otherwise.
EXTRACTION: Final[Mapping[Kind, str]] = {
    "number": "number/2",
    "label": "label/2",
    "choice": "choice/1",
    "quote": "holds/1",
    "span": "squad/1",
    "text": "rouge-l/1",
}


@dataclass(frozen=True, slots=True)
class Preset:
    """The fields of a task that a format brings with it."""

    kind: Kind
    prompt: str
    max_tokens: int
    system: str | None = None

    def fields(self) -> dict[str, Any]:
        return asdict(self)


PRESETS: Final[Mapping[str, Preset]] = {
    "gsm8k": Preset(
        "number",
        "{question}\n\nWork it out step by step. End with a line that has #### and the number.",
        400,
    ),
    "healthcaremagic": Preset(
        "text",
        "{question}",
        320,
        "You are a doctor. Answer the patient's question by what the patient describes.",
    ),
    "beeradvocate": Preset(
        "label",
        "{question}\n\nStyle:",
        24,
        "A taster describes a beer. Name its style, and nothing else. The styles:\n{labels}",
    ),
    "banking77": Preset(
        "label",
        "{question}\n\nIntent:",
        24,
        "A bank's customer writes. Say what the message is about, by the name of one of these"
        " intents alone:\n{labels}",
    ),
    "pubmedqa": Preset(
        "label", "{context}\n\nQuestion: {question}\nAnswer with yes, no or maybe.", 16
    ),
    "multiple_choice": Preset(
        "choice", "{question}\n\n{choices}\n\nAnswer with the letter of the right one alone.", 16
    ),
    "squad": Preset(
        "span",
        "{context}\n\nQuestion: {question}\nAnswer with the few words of the text that say it.",
        48,
    ),
    "medquad": Preset("text", "{question}", 400),
}
