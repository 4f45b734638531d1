"""Rows that answer with the label of the most similar earlier example."""

import random
import string

from deploy.demo.base.makers import Maker
from deploy.demo.base.rows import Message, Row, assistant, user

_WORDS = (
    "card billing shipping refund account security legal health science sport history travel food "
    "music weather finance urgent normal low high spam ham yes no positive negative neutral red "
    "green blue alpha beta gamma delta apple banana cherry cat dog bird north south east west "
    "hardware software network policy lost payment transfer request pending failed not working "
    "change cancel exchange rate limit arrival top up cash fee charge wrong amount verify identity "
    "pin blocked stolen order status delivery update contact person address country support unable "
    "activate receiving money balance direct debit virtual"
).split()
_LONGEST_TEXT = 160


def label(rng: random.Random) -> str:
    """An arbitrary label such as ``lost_card`` or ``K7``."""
    if rng.random() < 0.1:
        return rng.choice(string.ascii_uppercase) + str(rng.randrange(1, 100))
    separator = rng.choice(("_", "_", " ", "-"))
    joined = separator.join(rng.sample(_WORDS, rng.choice((1, 2, 2, 3, 3, 4))))
    return joined.capitalize() if rng.random() < 0.2 else joined


def _alike(maker: Maker) -> list[str]:
    """Texts that belong together: questions about one sentence, one topic or one document."""
    rng, kind = maker.rng, maker.rng.random()
    if kind < 0.5:
        passage = rng.choice(maker.document().passages)
        chosen = rng.sample(passage, min(len(passage), rng.choice((1, 1, 2))))
        asked = [maker.asker.about(text) for text in chosen for _ in range(7)]
        found = [maker.asker.paraphrased(question) for question in asked if question]
    elif kind < 0.7:
        entries = rng.choice(maker.material.topics).entries
        found = [e.question for e in entries] + [e.sentences[0] for e in entries]
    elif kind < 0.85:
        fact = rng.choice(maker.material.facts)
        found = [ask for ask in fact.ask if "{" not in ask]
    else:
        document = maker.document()
        found = [text for _ in range(2) for text in rng.choice(document.passages)]
    return sorted({text for text in found if len(text) < _LONGEST_TEXT})


def _turns(text: str, answer: str, plain: bool) -> list[Message]:
    return [user(text if plain else f"Text: {text}\nLabel:"), assistant(answer)]


def label_row(maker: Maker) -> Row | None:
    """Labelled examples, the most similar mostly last, and a text to label like them."""
    rng, overlap = maker.rng, maker.material.overlap
    count = rng.choice((1, 2, 3, 4, 4, 4, 5, 6, 8))
    pools = [_alike(maker) for _ in range(rng.randint(1, min(4, count)))]
    if min(map(len, pools)) < 2:
        return None
    names = [label(rng) for _ in pools]
    target = rng.randrange(len(pools))
    text = rng.choice(pools[target])
    chosen = [target] + [
        target if rng.random() < 0.45 else rng.randrange(len(pools)) for _ in range(count - 1)
    ]
    examples = [(kind, rng.choice(pools[kind])) for kind in chosen]
    if len(set(names)) < len(names) or any(example == text for _, example in examples):
        return None
    if rng.random() < 0.75:
        nearness = {
            item: overlap(text, item[1]) + 0.15 * (item[0] == target) + 0.1 * rng.random()
            for item in sorted(set(examples))
        }
        examples.sort(key=lambda item: nearness[item])
    else:
        rng.shuffle(examples)
    return _assemble(maker, [*examples, (target, text)], names)


def _assemble(maker: Maker, examples: list[tuple[int, str]], names: list[str]) -> Row:
    """Every answer whose label was shown before is learned, the last one always."""
    plain = maker.rng.random() < 0.35
    messages, learned, seen = maker.system(), list[int](), set[int]()
    for kind, text in examples:
        messages += _turns(text, names[kind], plain)
        if kind in seen:
            learned.append(len(messages) - 1)
        seen.add(kind)
    return Row(messages, learned)
