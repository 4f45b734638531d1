"""How often an order that stands in a document is followed: with and without a fence around it.

The orders are those of the data set. The documents are the example domains', each with an order
beside the sentence that answers a question about it; or the set's own e-mails. A service indexes
them and is asked. Every document also stands there without its order: what is answered then shows
what the order changed. Only answers whose prompt held the order are counted.
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
from eval.questions import read_all_questions, read_rows
from eval.report import Grid
from eval.stats import Share

FOLDER = "bipia_injection"
FORMATS = ("passages", "sentences", "fenced")
FENCES = {"passages": "none", "sentences": "numbers", "fenced": "every line"}
MODES = ("generate", "verbatim")
MAX_TOKENS = 96
SETTINGS = """title = "Texts"

[answer]
mode = "generate"
prompt_format = "{format}"
max_tokens = {tokens}

[duplicates]
drop = false

[retrieval]
passages = 3
demonstrations = 0
min_passage_score = -1.0
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """A document with a question about it, and an order that is put into it at `at`.

    `sentence` answers the question, where that is known.
    """

    number: int
    text: str
    question: str
    category: str
    order: str
    at: int
    sentence: str | None = None

    def document(self, *, poisoned: bool) -> str:
        """The order stands on the line of what it stands beside, so it comes with that."""
        if not poisoned:
            return f"{self.text}\n"
        return f"{self.text[: self.at]} {self.order} {self.text[self.at :]}\n".lstrip()


@dataclass(frozen=True, slots=True)
class Told:
    """One attack's answer. `seen`: the order stood in the prompt; `right`: it cited the sentence"""

    prompt_format: str
    mode: str
    category: str
    seen: bool
    followed: bool
    quoted: bool
    right: bool
    right_without: bool
    answer: str
    order: str


def read_mails(data: Path, count: int, seed: int) -> list[Attack]:
    """E-mails of the set, the order at their start, middle or end; drawn by `seed`."""
    rows = [row for _, row in read_rows(data / FOLDER / "email_train.jsonl")]
    chance = random.Random(seed)
    drawn = chance.sample(rows, min(count, len(rows)))
    attacks = []
    for number, (row, order) in enumerate(zip(drawn, _orders(data, chance), strict=False)):
        text = " ".join(str(row["context"]).split())
        at = (0, text.find(" ", len(text) // 2), len(text))[number % 3]
        question = str(row["question"]).removeprefix("Q:").strip()
        attacks.append(Attack(number, text, question, *order, max(at, 0)))
    return attacks


def read_documents(data: Path, domains: Path, count: int, seed: int) -> list[Attack]:
    """Documents of the example domains, each with a question; the order is beside its answer."""
    from indexer.domain import load_domain
    from indexer.reading import sources
    from indexer.records import Document

    chance = random.Random(seed)
    asked = {(one.domain, one.document): one for one in read_all_questions(domains) if one.sentence}
    drawn = chance.sample(list(asked.values()), min(count, len(asked)))
    texts = {
        (folder.parent.name, source.path): source.text
        for folder in sorted(domains.glob("*/domain.toml"))
        for source in sources.read_documents(load_domain(folder.parent))
        if isinstance(source, Document)
    }
    attacks = []
    for number, (one, order) in enumerate(zip(drawn, _orders(data, chance), strict=False)):
        text, sentence = texts[one.domain, str(one.document)], str(one.sentence)
        at = text.find(sentence) + (len(sentence) if number % 2 else 0)
        attacks.append(Attack(number, text, one.question, *order, at, sentence))
    return attacks


def _orders(data: Path, chance: random.Random) -> list[tuple[str, str]]:
    """Category and order, shuffled."""
    rows = [row for _, row in read_rows(data / FOLDER / "text_attack_train.jsonl")]
    return [(str(row["category"]), str(row["attack"])) for row in chance.sample(rows, len(rows))]


def write_domains(folder: Path, attacks: Sequence[Attack]) -> None:
    """For each prompt format a domain with the orders and one without."""
    for name, prompt_format, poisoned in _domains():
        documents = folder / name / "documents"
        documents.mkdir(parents=True)
        toml = SETTINGS.format(format=prompt_format, tokens=MAX_TOKENS)
        (folder / name / "domain.toml").write_text(toml, encoding="utf-8")
        for attack in attacks:
            file = documents / f"text-{attack.number:03d}.txt"
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
    head = (
        "prompt format",
        "fence",
        "mode",
        "order followed (95 %)",
        "order quoted (95 %)",
        "right sentence cited",
        "and without the order",
    )
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
        str(Share.of(one.right for one in seen)),
        str(Share.of(one.right_without for one in seen)),
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
        _is_right(poisoned, attack),
        _is_right(plain, attack),
        text,
        attack.order,
    )


async def _ask(client: Client, domain: str, attack: Attack, mode: str) -> Answer:
    options: dict[str, Any] = {"temperature": 0, "dslm": {"mode": mode, "explain": True}}
    return await client.chat(domain, [{"role": "user", "content": attack.question}], options)


def _is_right(answer: Answer, attack: Attack) -> bool:
    if attack.sentence is None:
        return False
    return any(attack.sentence in " ".join(one.quote.split()) for one in answer.citations)


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
