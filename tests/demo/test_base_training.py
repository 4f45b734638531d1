"""The demonstration base: what its training rows promise, and that a stopped run continues."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deploy.demo.base.corpus import Answered, Corpus, Document, Topic, sections
from deploy.demo.base.encoding import COPIED, SENTENCE_ID, Encoder, chat_text
from deploy.demo.base.feed import Feed
from deploy.demo.base.invent import Subject, disguise, load_facts, state
from deploy.demo.base.labels import label_row
from deploy.demo.base.makers import Maker, Material
from deploy.demo.base.network import Shape
from deploy.demo.base.prepare import Options
from deploy.demo.base.rows import REFUSAL, Case, Row, Size, render
from deploy.demo.base.text import Overlap, sentences, stem
from deploy.demo.base.vocabulary import train_tokenizer, with_chat_template
from deploy.demo.train_base import Run

SIZE = Size(4, 12, turns=0.5)
SHAPE = Shape(vocabulary=900, width=32, layers=4, heads=2, inner=48)


def tiny_corpus() -> Corpus:
    """Invented documents, a few sentences to a passage."""
    rng, facts = random.Random(1), load_facts()
    documents, topics = [], []
    for number in range(12):
        subject = Subject.invent(rng)
        told = [state(rng, fact, subject, True) for fact in rng.sample(facts, 30)]
        texts = list(dict.fromkeys(text for text, _ in told))
        passages = [texts[i : i + 6] for i in range(0, 24, 6)]
        documents.append(Document("docs", False, passages))
        entries = [Answered(ask, [text, *texts[:2]]) for text, ask in told[24:]]
        topics.append(Topic(f"topic {number}", False, entries))
    return Corpus(documents, topics)


@pytest.fixture(scope="module")
def material() -> Material:
    corpus = tiny_corpus()
    overlap = Overlap.count(corpus.texts())
    return Material(corpus, overlap, {"heavy": ["weighty"]}, load_facts())


@pytest.fixture(scope="module")
def encoder(material: Material) -> Encoder:
    tokenizer = train_tokenizer(tiny_corpus().texts(), SHAPE.vocabulary)
    assert tokenizer.get_vocab_size() == SHAPE.vocabulary
    return Encoder(tokenizer, material.overlap)


def cases(maker: Maker) -> Iterator[Case]:
    """Some of each kind."""
    for make in (maker.made, maker.topic, maker.fact, maker.drill):
        for _ in range(60):
            case = make(maker.rng.randint(3, 12), refused=0.4)
            if case:
                yield case


def rows(material: Material) -> list[Row]:
    """Rows with documents of all kinds."""
    maker = Maker(material, random.Random(3))
    made = (maker.row(case, SIZE) for case in cases(maker))
    return [row for row in made if row]


def test_answers_stand_in_their_prompts_and_refusals_do_not(material: Material) -> None:
    found = rows(material)
    assert {row.gold is None for row in found} == {True, False}
    for row in found:
        prompt, answer = row.messages[-2]["content"], row.messages[-1]["content"]
        assert len(set(row.numbers)) == len(row.numbers) == len(set(row.sentences)) <= 32
        if row.gold is None:
            assert answer == REFUSAL
        else:
            number = row.numbers[row.gold]
            assert answer == f"[{number}] {row.sentences[row.gold]}"
            assert f"{answer}[/{number}]" in prompt


def test_a_refused_made_question_has_lost_its_sentence(material: Material) -> None:
    maker = Maker(material, random.Random(5))
    refused = [case for case in (maker.made(8, refused=1.0) for _ in range(200)) if case]
    assert refused
    for case in refused:
        shares = [material.overlap(case.question, text) for p in case.passages for text in p]
        assert case.gold is None
        assert max(shares) <= 0.45


def test_a_refused_fact_keeps_only_another_products_fact(material: Material) -> None:
    told, asked = random.Random(9), random.Random(9)
    answered = Maker(material, told).fact(8, refused=0.0)
    refused = Maker(material, asked).fact(8, refused=1.0)
    assert answered
    assert refused
    assert answered.gold not in [text for passage in refused.passages for text in passage]


def test_tokens_are_those_of_the_chat_template(material: Material, encoder: Encoder) -> None:
    served = with_chat_template(encoder.tokenizer, 1536)
    for row in rows(material)[:60]:
        wanted = served.apply_chat_template(row.messages, return_dict=False)
        assert encoder(row).tokens == wanted
        prompt = served.apply_chat_template(
            row.messages[:-1], add_generation_prompt=True, return_dict=False
        )
        assert wanted[: len(prompt)] == prompt


def test_the_copy_has_the_tokens_of_the_sentence(material: Material, encoder: Encoder) -> None:
    for row in rows(material):
        encoded = encoder(row)
        start = encoded.kinds.index(SENTENCE_ID)
        copied = [
            t for t, kind in zip(encoded.tokens, encoded.kinds, strict=True) if kind == COPIED
        ]
        assert encoded.kinds[start:] == [SENTENCE_ID] + [COPIED] * len(copied)
        assert copied[-1] == encoder.end
        if row.gold is not None:
            number = row.numbers[row.gold]
            own = [
                token
                for token, sentence in zip(encoded.tokens, encoded.sentence, strict=True)
                if sentence == number and token not in encoder.closing
            ]
            assert copied[:-1] == own


def test_every_sentence_has_one_closing_token(material: Material, encoder: Encoder) -> None:
    for row in rows(material)[:60]:
        closings = encoder(row).closings
        assert len(closings) == len(row.sentences)
        right = [i for i, closing in enumerate(closings) if closing.answer == 1]
        assert right == ([] if row.gold is None else [row.gold])


def test_labels_are_learned_only_where_they_were_shown(
    material: Material, encoder: Encoder
) -> None:
    maker = Maker(material, random.Random(4))
    made = [row for row in (label_row(maker) for _ in range(80)) if row]
    assert made
    for row in made:
        answers = [m["content"] for m in row.messages if m["role"] == "assistant"]
        assert answers[-1] in answers[:-1]
        assert row.learned[-1] == len(row.messages) - 1
        encoded = encoder(row)
        assert sum(kind > 0 for kind in encoded.kinds) > 0
        assert not encoded.closings


def test_the_layout_of_the_user_turn() -> None:
    text = render("Why?", [["First one.", "Second."], ["Next."]], [1, 2, 3])
    assert text == (
        "Question: Why?\nDocuments:\n[1] First one.[/1][2] Second.[/2]\n[3] Next.[/3]\n"
        "Question: Why?"
    )


def test_disguise_changes_a_word_alike_everywhere() -> None:
    first, second = disguise(
        random.Random(2), [["Anna met Berta in 1984."], ["Anna left in 1984."]]
    )
    assert first[0].split()[0] == second[0].split()[0]
    assert first[0].split()[-1] == second[0].split()[-1]


def test_every_fact_can_be_stated() -> None:
    rng = random.Random(0)
    for fact in load_facts():
        for _ in range(4):
            text, ask = state(rng, fact, Subject.invent(rng), by_name=False)
            assert "{" not in text + ask
            assert len(text) >= 9


def test_text_is_split_and_stemmed() -> None:
    assert sentences("See Dr. Ode at 08:00. It is free.") == [
        "See Dr. Ode at 08:00.",
        "It is free.",
    ]
    assert stem("shipping") == stem("shipped")
    found = dict(sections("# Care\n\nWash it. Dry it.\n\n- Use soap\n- No bleach\n"))
    assert found["Care"] == ["Wash it.", "Dry it.", "- Use soap", "- No bleach"]


def test_chat_text_is_plain() -> None:
    assert chat_text([{"role": "user", "content": "Hi"}]) == "<s><|user|>Hi</s>"


def _run(material: Material, encoder: Encoder, out: Path) -> Run:
    options = Options(data=out, out=out, steps=6, batch_tokens=600)
    return Run(options, material, encoder, SHAPE)


def _advance(run: Run, steps: int) -> list[dict[str, float]]:
    return [run.train_on(batch) for batch in itertools.islice(run.batches(), steps)]


def test_a_resumed_run_is_the_same_run(
    material: Material, encoder: Encoder, tmp_path: Path
) -> None:
    whole = _run(material, encoder, tmp_path)
    reports = _advance(whole, 6)
    half = _run(material, encoder, tmp_path)
    _advance(half, 3)
    half.save()
    torch.manual_seed(99)
    resumed = _run(material, encoder, tmp_path)
    resumed.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert _advance(resumed, 3) == reports[3:]
    assert resumed.step == whole.step == 6
    assert resumed.tokens == whole.tokens
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_pool_is_always_the_same(material: Material, encoder: Encoder) -> None:
    one, other = (Feed(material, encoder, 5, 900)[40] for _ in range(2))
    assert len(one) == len(other)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(one, other, strict=True))
