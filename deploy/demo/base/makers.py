"""Makes training rows of every kind from the corpus; deterministic for a given generator."""

import bisect
import itertools
import random

from deploy.demo.base.corpus import Answered, Corpus, Document
from deploy.demo.base.invent import Fact, Subject, disguise, state
from deploy.demo.base.questions import Asker, Synonyms
from deploy.demo.base.rows import (
    Case,
    Message,
    Passages,
    Row,
    Size,
    assistant,
    document_row,
    fitting,
    flat,
    user,
    without,
)
from deploy.demo.base.text import Overlap
from deploy.demo.base.vocabulary import MAX_ID

SYSTEM_TEXTS = (
    "Answer with one sentence from the documents.",
    "You are a helpful assistant.",
    "Answer only from the documents. Cite the sentence.",
    "You answer questions for our customers.",
    "You are a specialist. Copy the sentence that answers the question, with its number.",
    "Use the documents below. If they do not answer the question, say so.",
    "You help the staff of a clinic to find the right guideline.",
    "You are the assistant of the legal department.",
    "Answer briefly and politely.",
    "Give the label of the text.",
)
# Below this share of the question's content no sentence counts as an answer.
LEAST_OVERLAP, CLEAR_LEAD, REFUSED_OVERLAP = 0.35, 0.12, 0.45
_KIND_WEIGHT = {"books": 0.45, "contracts": 1.0, "docs": 1.2}


class Material:
    """What rows are made from, prepared once and shared by all makers."""

    def __init__(
        self, corpus: Corpus, overlap: Overlap, synonyms: Synonyms, facts: tuple[Fact, ...]
    ) -> None:
        self.documents = [item for item in corpus.documents if item.passages]
        self.topics = [topic for topic in corpus.topics if topic.entries]
        self.overlap, self.synonyms, self.facts = overlap, synonyms, facts
        weights = (
            min(12, len(item.passages)) ** 0.8 * _KIND_WEIGHT.get(item.kind, 1.0)
            for item in self.documents
        )
        self.cumulative = list(itertools.accumulate(weights))


class Maker:
    """Makes rows with one random generator."""

    def __init__(self, material: Material, rng: random.Random) -> None:
        self.material = material
        self.rng = rng
        self.asker = Asker(rng, material.synonyms)

    def document(self) -> Document:
        """A document, longer ones more often."""
        cumulative = self.material.cumulative
        place = bisect.bisect(cumulative, self.rng.random() * cumulative[-1])
        return self.material.documents[min(place, len(cumulative) - 1)]

    def passages(self, first: Document, count: int, same: float) -> Passages:
        """``count`` sentences at most, in passages from one document and from others."""
        rng, wanted = self.rng, self.rng.choice((1, 2, 2, 3, 3, 4, 5))
        chosen: Passages = []
        seen: set[str] = set()
        for _ in range(14):
            left = count - len(seen)
            if left <= 0:
                break
            source = first if not chosen or rng.random() < same else self.document()
            whole = rng.choice(source.passages)
            size = min(len(whole), left, max(2, rng.randint(2, count // wanted + 2)))
            start = rng.randrange(len(whole) - size + 1)
            fresh = [text for text in whole[start : start + size] if text not in seen]
            seen.update(fresh)
            if fresh and len(set(fresh)) == len(fresh):
                chosen.append(fresh)
        return chosen

    def best_overlap(self, question: str, sentences: list[str]) -> float:
        """The overlap of the closest sentence."""
        return max((self.material.overlap(question, text) for text in sentences), default=0.0)

    def made(self, count: int, refused: float = 0.27, disguised: float = 0.35) -> Case | None:
        """A question made from a sentence of a document, among its neighbours."""
        rng, same = self.rng, 0.6
        passages = self.passages(self.document(), count, same)
        if not passages:
            return None
        if rng.random() < disguised:
            passages = disguise(rng, passages)
        main = rng.choice(passages[: max(1, len(passages) // 2)])
        gold = rng.choice(main)
        question = self.asker.about(gold, [text for text in main if text != gold])
        rest = [text for text in flat(passages) if text != gold]
        if not question or not rest or len(set(rest)) != len(flat(passages)) - 1:
            return None
        share, rival = self.material.overlap(question, gold), self.best_overlap(question, rest)
        if share < LEAST_OVERLAP or rival > share - CLEAR_LEAD:
            return None
        if rng.random() >= refused:
            return Case(question, passages, gold, reworded=True)
        # Mostly the same passages without the one sentence: the hardest honest refusal.
        dropped = main if rng.random() < 0.25 and len(passages) > 1 else [gold]
        left = without(passages, dropped)
        if self.best_overlap(question, flat(left)) > REFUSED_OVERLAP:
            return None
        return Case(question, left, None, reworded=True)

    def drill(self, count: int, refused: float) -> Case | None:
        """Random words in place of sentences: nothing to learn but looking words up."""
        rng = self.rng
        words = [
            word for text in flat(self.passages(self.document(), 24, 0.2)) for word in text.split()
        ]
        words = sorted({word.strip(".,;:") for word in words if word.strip(".,;:").isalnum()})
        rng.shuffle(words)
        made = [words[i * 7 : i * 7 + rng.randint(4, 7)] for i in range(count)]
        if len(made[-1]) < 4:
            return None
        gold = made[0]
        asked = rng.sample(gold, rng.randint(2, 4))
        texts = [" ".join(line) for line in made]
        if rng.random() < refused:
            return Case(" ".join(asked), [texts[1:]], None)
        rng.shuffle(texts)
        cut = rng.randint(1, len(texts))
        return Case(
            " ".join(asked), [part for part in (texts[:cut], texts[cut:]) if part], " ".join(gold)
        )

    def topic(self, count: int, refused: float = 0.2) -> Case | None:
        """A real question or heading about a subject, among the subject's other answers."""
        rng, material = self.rng, self.material
        topic = rng.choice(material.topics)
        entry = rng.choice(topic.entries)
        own = entry.sentences[: rng.choice((2, 3, 5))]
        shares = [material.overlap(entry.question, t) - 0.02 * i for i, t in enumerate(own)]
        gold = own[shares.index(max(shares))]
        others = [other for other in topic.entries if other.question != entry.question]
        passages = self._with_distractors(own, others, count)
        question = self._as_question(entry)
        if rng.random() >= refused:
            alike = tuple(text for text in own if text != gold)
            return Case(question, passages, gold, alike, True) if max(shares) >= 0.3 else None
        left = passages[1:]
        if not left or self.best_overlap(question, flat(left)) > 0.5:
            return None
        return Case(question, left, None, reworded=True)

    def _with_distractors(self, own: list[str], others: list[Answered], count: int) -> Passages:
        rng, passages = self.rng, [own]
        rng.shuffle(others)
        while (left := count - len(flat(passages))) > 0:
            if others and rng.random() < 0.6:
                more = others.pop().sentences
            elif rng.random() < 0.6:
                more = rng.choice(rng.choice(self.material.topics).entries).sentences
            else:
                more = rng.choice(self.document().passages)
            passages.append(more[: min(left, rng.choice((2, 3, 4)))])
        return passages

    def _as_question(self, entry: Answered) -> str:
        question = entry.question
        if question.endswith("?"):
            return question.replace("(are) ", "") if self.rng.random() < 0.5 else question
        return self.rng.choice(("{}", "{}?", "What about {}?", "How do I find {}?")).format(
            question
        )

    def fact(self, count: int, refused: float = 0.27) -> Case | None:
        """Invented facts about invented subjects, asked in other words."""
        rng = self.rng
        subjects = [Subject.invent(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        several = len(subjects) > 1
        chosen = rng.sample(self.material.facts, min(len(self.material.facts), count))
        passages: Passages = [[] for _ in subjects]
        gold, question = state(rng, chosen[0], subjects[0], several)
        passages[0].append(gold)
        for fact in chosen[1:]:
            place = rng.randrange(len(subjects))
            passages[place].append(state(rng, fact, subjects[place], several)[0])
        if several and subjects[0].product in question:
            # The same fact about another product: only the name tells them apart.
            passages[1].append(state(rng, chosen[0], subjects[1], True)[0])
            if subjects[0].product not in gold and subjects[0].company not in gold:
                return None
        for passage in passages:
            rng.shuffle(passage)
        filler = self.passages(self.document(), rng.choice((0, 0, 4, 8)), 0.5)
        passages = [passage for passage in [*passages, *filler] if passage][:6]
        if rng.random() >= refused:
            return Case(question, passages, gold, wording=gold)
        return Case(question, without(passages, [gold]), None, wording=gold)

    def row(self, case: Case, size: Size) -> Row | None:
        """The training row of a case, with turns before it now and then."""
        rng, passages = self.rng, fitting(case.passages, case.gold)
        if not passages or len(set(flat(passages))) != len(flat(passages)):
            return None
        rng.shuffle(passages)
        before = self.system()
        if rng.random() < size.turns:
            before += self.turns(case)
        asked = self.asker.paraphrased(case.question) if case.reworded else case.question
        wording = case.wording or case.question
        return document_row(rng, asked, passages, case.gold, before, case.alike, wording)

    def system(self) -> list[Message]:
        """No system message, a usual one, or any sentence as one."""
        chance = self.rng.random()
        if chance < 0.55:
            return []
        usual = self.rng.choice(SYSTEM_TEXTS)
        if chance > 0.85:
            usual = " ".join(self.rng.choice(self.document().passages)[:2])
        return [{"role": "system", "content": usual}]

    def turns(self, case: Case) -> list[Message]:
        """Earlier questions with plain answers, or earlier cited ones, all to be ignored."""
        rng, turns = self.rng, list[Message]()
        cited = rng.random() < 0.25
        for _ in range(rng.choice((1, 1, 2, 3, 4))):
            answer = rng.choice(rng.choice(self.document().passages))
            if case.gold is not None and rng.random() < 0.2:
                answer = disguise(rng, [[case.gold]])[0][0]
            asked = self.asker.about(answer) or case.question
            mark = f"[{rng.randint(1, MAX_ID)}] " if cited else ""
            turns += [user(asked), assistant(mark + answer)]
        return turns
