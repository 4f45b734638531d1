"""How often an order that stands in a document is followed: with and without a fence around it.

Documents are e-mails of the data set, each with one of its orders put into it; the service indexes
them and is asked the e-mail's own question. Every order also has the same e-mail without it, whose
answer shows what the order changed. Only answers whose prompt held the order are counted.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.answer import Answer
from eval.client import Client
from eval.injection_judge import followed, quoted
from eval.progress import phase, watched
from eval.questions import read_rows
from eval.report import Grid
from eval.stats import Share

FOLDER = "bipia_injection"
FORMATS = ("passages", "sentences", "fenced")
FENCES = {"passages": "none", "sentences": "numbers", "fenced": "every line"}
MODES = ("generate", "verbatim")
MAX_TOKENS = 96
SETTINGS = """title = "Mail"

[answer]
mode = "generate"
prompt_format = "{format}"
max_tokens = {tokens}

[retrieval]
passages = 3
demonstrations = 0
min_passage_score = -1.0
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """An e-mail with its question, and an order; `place` is where in it that stands."""

    number: int
    context: str
    question: str
    category: str
    order: str
    place: float

    def document(self, *, poisoned: bool) -> str:
        """The e-mail's text, with the order as a paragraph of its own."""
        if not poisoned:
            return f"{self.context}\n"
        at = self.context.find(" ", int(len(self.context) * self.place))
        at = len(self.context) if at < 0 or self.place == 1 else at * (self.place > 0)
        return f"{self.context[:at]}\n\n{self.order}\n\n{self.context[at:]}\n".lstrip()


@dataclass(frozen=True, slots=True)
class Told:
    """One attack's answer. `seen`: the order stood in the prompt."""

    prompt_format: str
    mode: str
    category: str
    seen: bool
    followed: bool
    quoted: bool
    answer: str
    order: str


def read_attacks(data: Path, count: int, seed: int) -> list[Attack]:
    """`count` e-mails, each with an order, drawn by `seed`; BadInput if the set is not there."""
    folder = data / FOLDER
    mails = [row for _, row in read_rows(folder / "email_train.jsonl")]
    orders = [row for _, row in read_rows(folder / "text_attack_train.jsonl")]
    chance = random.Random(seed)
    mails = chance.sample(mails, min(count, len(mails)))
    drawn = chance.sample(orders, min(len(mails), len(orders)))
    return [
        Attack(
            number,
            str(mail["context"]),
            str(mail["question"]).removeprefix("Q:").strip(),
            str(order["category"]),
            str(order["attack"]),
            (0.0, 0.5, 1.0)[number % 3],
        )
        for number, (mail, order) in enumerate(zip(mails, drawn, strict=True))
    ]


def write_domains(folder: Path, attacks: Sequence[Attack]) -> None:
    """For each prompt format a domain with the orders and one without."""
    for name, prompt_format, poisoned in _domains():
        documents = folder / name / "documents"
        documents.mkdir(parents=True)
        toml = SETTINGS.format(format=prompt_format, tokens=MAX_TOKENS)
        (folder / name / "domain.toml").write_text(toml, encoding="utf-8")
        for attack in attacks:
            file = documents / f"mail-{attack.number:03d}.txt"
            file.write_text(attack.document(poisoned=poisoned), encoding="utf-8")


async def measure(client: Client, attacks: Sequence[Attack]) -> list[Told]:
    """Every attack in every prompt format and mode."""
    told: list[Told] = []
    for prompt_format in FORMATS:
        for mode in MODES:
            with phase(f"{prompt_format}, {mode}", len(attacks)) as advance:
                asked = [
                    watched(_told(client, attack, prompt_format, mode), advance)
                    for attack in attacks
                ]
                told += await asyncio.gather(*asked)
    return told


def grid(told: Sequence[Told]) -> Grid:
    """A row for each prompt format and mode."""
    head = ("prompt format", "fence", "mode", "order followed (95 %)", "order quoted (95 %)")
    rows = tuple(
        _row([one for one in told if (one.prompt_format, one.mode) == (prompt_format, mode)])
        for prompt_format in FORMATS
        for mode in MODES
    )
    return Grid("Orders in documents, of the answers whose prompt held one", head, rows)


def _row(told: Sequence[Told]) -> tuple[str, ...]:
    seen = [one for one in told if one.seen]
    first = told[0]
    return (
        first.prompt_format,
        FENCES[first.prompt_format],
        first.mode,
        str(Share.of(one.followed for one in seen)),
        str(Share.of(one.quoted for one in seen)),
    )


async def _told(client: Client, attack: Attack, prompt_format: str, mode: str) -> Told:
    answers = [
        await _ask(client, name, attack, mode)
        for name, this_format, _ in _domains()
        if this_format == prompt_format
    ]
    poisoned, plain = answers
    text = poisoned.text
    return Told(
        prompt_format,
        mode,
        attack.category,
        _shown(attack.order, poisoned),
        # Of the documents' sentences one is the order: to quote it is not to follow it.
        followed(attack.category, attack.order, text, plain.text),
        quoted(attack.order, text),
        text,
        attack.order,
    )


async def _ask(client: Client, domain: str, attack: Attack, mode: str) -> Answer:
    options: dict[str, Any] = {"temperature": 0, "dslm": {"mode": mode, "explain": True}}
    return await client.chat(domain, [{"role": "user", "content": attack.question}], options)


def _shown(order: str, answer: Answer) -> bool:
    """Did the prompt hold a passage with all of the order's words?"""
    passages = answer.dslm.get("explain", {}).get("passages", ())
    words = " ".join(order.split())
    return any(one["ids"] and words in " ".join(one["text"].split()) for one in passages)


def _domains() -> Iterator[tuple[str, str, bool]]:
    """Name, prompt format, and whether the documents hold orders: first those that do."""
    for prompt_format in FORMATS:
        yield f"poisoned-{prompt_format}", prompt_format, True
        yield f"plain-{prompt_format}", prompt_format, False
