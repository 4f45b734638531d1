"""The sets to measure on: none of their documents, questions or labels is ever trained on."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.base.corpus import Topic
from deploy.demo.base.makers import Maker
from deploy.demo.base.rows import Case, Message, Passages, flat, user, without
from deploy.demo.base.text import Overlap, sentences, stems


@dataclass(frozen=True)
class Item:
    """A question about passages, and the places of the sentences that answer it, if any do."""

    question: str
    passages: Passages
    gold: frozenset[int]
    before: tuple[Message, ...] = ()


Pair = tuple[Item, Item | None]


def _item(question: str, passages: Passages, right: set[str]) -> Item:
    places = enumerate(flat(passages))
    return Item(question, passages, frozenset(i for i, text in places if text in right))


def _filled(passages: Passages, count: int, more: Callable[[], list[str]]) -> Passages:
    """Add passages until there are ``count`` different sentences."""
    filled = list(passages)
    for _ in range(200):
        left = count - len(flat(filled))
        if left <= 0:
            break
        fresh = [text for text in dict.fromkeys(more()) if text not in flat(filled)][:left]
        if fresh:
            filled.append(fresh)
    return filled


def _pair(maker: Maker, case: Case, turns: bool) -> Pair:
    passages = list(case.passages)
    maker.rng.shuffle(passages)
    assert case.gold is not None
    item = _item(case.question, passages, {case.gold})
    if turns:
        item = Item(item.question, passages, item.gold, tuple(maker.turns(case)))
    left = without(passages, [case.gold])
    # A twin is only fair where nothing left comes near the question.
    fair = maker.best_overlap(case.question, flat(left)) <= 0.45
    return item, Item(case.question, left, frozenset(), item.before) if fair else None


def made(maker: Maker, count: int, turns: bool = False) -> Iterator[Pair]:
    """Questions made from sentences of held-out documents, and the same without the sentence."""
    while True:
        case = maker.made(count, refused=0.0, disguised=0.0)
        if case and len(flat(case.passages)) == count:
            yield _pair(maker, case, turns)


def facts(maker: Maker, count: int) -> Iterator[Pair]:
    """Invented facts: names and numbers that no text contains."""
    while True:
        case = maker.fact(count, refused=0.0)
        if case and len(set(flat(case.passages))) == len(flat(case.passages)) <= 32:
            yield _pair(maker, case, False)


def medical(maker: Maker, count: int) -> Iterator[Pair]:
    """MedQuAD's own questions about held-out subjects; any sentence of the answer is right."""
    rng = maker.rng
    topics = [t for t in maker.material.topics if t.subject.startswith("medical:")]
    while True:
        topic = rng.choice(topics)
        entry = rng.choice(topic.entries)
        own = entry.sentences[:5]
        others = [other.sentences for other in topic.entries if other.question != entry.question]
        if set(own) & {text for other in others for text in other}:
            continue
        rng.shuffle(others)

        def near(others: list[list[str]] = others) -> list[str]:
            return others.pop()[:4] if others and rng.random() < 0.5 else far()

        def far(topic: Topic = topic) -> list[str]:
            other = rng.choice([item for item in topics if item.subject != topic.subject])
            return rng.choice(other.entries).sentences[:4]

        passages = _filled([own], count, near)
        rng.shuffle(passages)
        refused = Item(entry.question, _filled([], count, far), frozenset())
        yield _item(entry.question, passages, set(own)), refused


@dataclass(frozen=True)
class _Paragraph:
    key: str
    title: str
    text: str
    parts: list[str]


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _answering(paragraph: _Paragraph, start: int) -> str | None:
    """The sentence in which a character offset lies."""
    position = 0
    for part in paragraph.parts:
        found = paragraph.text.find(part[:30], position)
        position = position if found < 0 else found
        if position <= start <= position + len(part):
            return part
        position += len(part)
    return None


def wikipedia(data: Path, rng: random.Random, count: int) -> Iterator[Pair]:
    """XQuAD's English questions among sentences of the same and other articles."""
    folder = data / "squad_xquad_en"
    raw = _lines(folder / "paragraphs.jsonl")
    paragraphs = [_Paragraph(p["_id"], p["title"], p["text"], sentences(p["text"])) for p in raw]
    known = {paragraph.key: paragraph for paragraph in paragraphs}
    by_title: defaultdict[str, list[_Paragraph]] = defaultdict(list)
    for paragraph in paragraphs:
        by_title[paragraph.title].append(paragraph)
    asked = [json.loads(line) for line in (folder / "questions.jsonl").open(encoding="utf-8")]
    rng.shuffle(asked)
    for question in asked:
        home = known[question["paragraph"]]
        gold = _answering(home, question["answers"][0]["answer_start"])
        if gold is None or max(map(len, home.parts)) > 420:
            continue
        same = [other for other in by_title[home.title] if other is not home]

        def more(home: _Paragraph = home, same: list[_Paragraph] = same) -> list[str]:
            pool = same if same and rng.random() < 0.7 else paragraphs
            other = rng.choice(pool)
            return [] if other is home else [part for part in other.parts if len(part) < 300]

        place = home.parts.index(gold)
        low = max(0, min(place - rng.randrange(min(len(home.parts), count)), place))
        passages = _filled([home.parts[low : low + count]], count, more)
        rng.shuffle(passages)
        refused = Item(question["question"], _filled([], count, more), frozenset())
        yield _item(question["question"], passages, {gold}), refused


@dataclass(frozen=True)
class Labelled:
    """A text to label, with earlier examples, the most similar last."""

    text: str
    label: str
    examples: list[tuple[str, str]]


def banking(data: Path, rng: random.Random, count: int) -> dict[str, list[Labelled]]:
    """banking77 without examples, with four random and with the four nearest ones."""
    train = [(row["text"], row["label"]) for row in _lines(data / "banking77/train.jsonl")]
    test = rng.sample(_lines(data / "banking77/test.jsonl"), count)
    near = Nearest([text for text, _ in train])
    sets: dict[str, list[Labelled]] = {"none": [], "4 random": [], "4 nearest": []}
    for row in test:
        chosen = {
            "none": [],
            "4 random": rng.sample(train, 4),
            "4 nearest": [train[i] for i in reversed(near(row["text"], 4))],
        }
        for name, examples in chosen.items():
            sets[name].append(Labelled(row["text"], row["label"], examples))
    return sets


class Nearest:
    """The most similar of some texts by rare shared words, lengths evened out."""

    def __init__(self, texts: list[str]) -> None:
        self.overlap = Overlap.count(texts)
        self.containing: defaultdict[str, list[int]] = defaultdict(list)
        self.norms: list[float] = []
        for place, text in enumerate(texts):
            found = stems(text)
            for word in found:
                self.containing[word].append(place)
            self.norms.append(sum(self.overlap.rarity(word) ** 2 for word in found) ** 0.5 + 1e-6)

    def __call__(self, text: str, count: int) -> list[int]:
        """Places of the nearest texts, the nearest first."""
        scores: Counter[int] = Counter()
        for word in sorted(stems(text)):
            weight = self.overlap.rarity(word) ** 2
            for place in self.containing.get(word, ()):
                scores[place] += weight / self.norms[place]  # type: ignore[assignment]
        return [place for place, _ in scores.most_common(count)]


def prompt_of(item: Labelled) -> list[Message]:
    """The conversation before the label is answered."""
    turns: list[Message] = []
    for text, label in item.examples:
        turns += [user(f"Text: {text}\nLabel:"), {"role": "assistant", "content": label}]
    return [*turns, user(f"Text: {item.text}\nLabel:")]
