"""compose(): what is shown, in which order, and what is dropped when it does not fit."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import PromptTooLong
from adapters.prompt import (
    FORMATS,
    MAX_SENTENCES,
    Message,
    Prompt,
    PromptFormat,
    compose,
    parse_citations,
)
from indexer.errors import BadInput
from indexer.records import Demonstration, Passage, Sentence

REFUSAL = "The documents do not say."
FINAL = [{"role": "user", "content": "How often?"}]
PLENTY = 100_000


def words(text: str) -> int:
    return len(text.split())


def passage(*texts: str, score: float = 0.5, name: str = "care.md", start: int = 40) -> Passage:
    """A passage whose sentences stand on one line each, `start` characters into its document."""
    spans, at = [], start
    for text in texts:
        spans.append(Sentence(at, at + len(text)))
        at += len(text) + 1
    return Passage(
        f"{name}-{score}", name, "Care", ("Filter",), start, "\n".join(texts), tuple(spans), score
    )


def solved(number: int) -> Demonstration:
    return Demonstration(f"d{number}", f"question {number}", f"answer {number}")


def composed(
    messages: list[Message] = FINAL,
    passages: tuple[Passage, ...] = (),
    demonstrations: tuple[Demonstration, ...] = (),
    *,
    prompt_format: PromptFormat = "sentences",
    system: str = "",
    budget: int = PLENTY,
    per_message: int = 2,
) -> Prompt:
    return compose(
        prompt_format,
        messages,
        passages,
        demonstrations,
        system,
        budget,
        words,
        per_message,
        REFUSAL,
    )


def test_sentences_are_numbered_across_passages_one_passage_a_line() -> None:
    best = passage("Rinse it weekly.", "Dry it well.", score=0.9)
    other = passage("Order a new one.", score=0.4)
    prompt = composed(passages=(best, other))
    assert prompt.messages[-1]["content"] == (
        "Question: How often?\nDocuments:\n"
        "[1] Rinse it weekly.[/1][2] Dry it well.[/2]\n[3] Order a new one.[/3]\n"
        "Question: How often?"
    )
    assert [source.id for source in prompt.sources] == [1, 2, 3]
    assert prompt.sources[2].passage is other


def test_passages_format_numbers_passages_under_their_headings() -> None:
    prompt = composed(
        passages=(passage("Rinse it.", "Dry it."), passage("Order.", score=0.4)),
        prompt_format="passages",
    )
    assert prompt.messages[-1]["content"] == (
        "Question: How often?\nDocuments:\n"
        "[1] Care > Filter\nRinse it.\nDry it.\n\n[2] Care > Filter\nOrder.\n"
        "Question: How often?"
    )
    assert prompt.sources[0].quote == "Rinse it.\nDry it."
    assert prompt.choices == (
        "[1] Rinse it.",
        "[1] Dry it.",
        "[2] Order.",
        f"[0] {REFUSAL}",
    )


def test_a_verbatim_answer_may_say_any_sentence_or_the_refusal() -> None:
    prompt = composed(passages=(passage("Rinse it.", "Dry it."),))
    assert prompt.choices == ("[1] Rinse it.", "[2] Dry it.", f"[0] {REFUSAL}")


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_without_passages_the_question_is_unchanged(prompt_format: PromptFormat) -> None:
    question = [{"role": "user", "content": "Text: it hurts\nLabel:"}]
    assert composed(question, prompt_format=prompt_format).messages == tuple(question)


def test_order_is_system_demonstrations_conversation_question() -> None:
    conversation = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good day"},
        *FINAL,
    ]
    prompt = composed(conversation, demonstrations=(solved(1), solved(2)), system="Be brief.")
    assert [turn["content"] for turn in prompt.messages] == [
        "Be brief.",
        "question 1",
        "answer 1",
        "question 2",
        "answer 2",
        "Hello",
        "Good day",
        "How often?",
    ]


def test_the_requests_own_system_message_replaces_the_domains() -> None:
    prompt = composed([{"role": "system", "content": "Rhyme."}, *FINAL], system="Be brief.")
    assert [turn["content"] for turn in prompt.messages] == ["Rhyme.", "How often?"]


def test_a_question_that_does_not_fit_names_its_tokens_and_the_budget() -> None:
    with pytest.raises(PromptTooLong) as caught:
        composed([{"role": "user", "content": "why " * 30}], budget=20)
    assert (caught.value.tokens, caught.value.budget) == (34, 20)


@pytest.mark.parametrize(
    "messages", [[], [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]
)
def test_a_conversation_must_end_with_the_user(messages: list[Message]) -> None:
    with pytest.raises(BadInput, match="last message"):
        composed(messages)


def test_a_passage_that_no_ids_are_left_for_is_passed_over() -> None:
    long = passage(*[f"Line {n}." for n in range(30)], score=0.9)
    middle = passage("One.", "Two.", "Three.", score=0.8)
    short = passage("Four.", "Five.", score=0.7)
    prompt = composed(passages=(long, middle, short))
    assert [source.id for source in prompt.sources] == list(range(1, MAX_SENTENCES + 1))
    assert prompt.sources[-1].quote == "Five."


def test_an_earlier_exchange_is_dropped_whole_and_oldest_first() -> None:
    turns = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    conversation = [{"role": role, "content": content} for role, content in turns]
    prompt = composed([*conversation, *FINAL], budget=14)
    assert [turn["content"] for turn in prompt.messages] == ["three", "four", "How often?"]


def test_citations_are_found_with_their_place() -> None:
    answer = "Rinse it [2], dry it [1, 13]. See [a] and [/3]."
    assert parse_citations(answer) == [(2, 9, 12), (1, 21, 28), (13, 21, 28)]


LINES = st.lists(st.text("ab .", min_size=1, max_size=12), min_size=1, max_size=12)
PASSAGES = st.lists(
    st.builds(
        lambda lines, score, start: passage(*lines, score=score, start=start),
        LINES,
        st.floats(0, 1),
        st.integers(0, 500),
    ),
    max_size=7,
).map(tuple)
DEMONSTRATIONS = st.integers(0, 5).map(lambda n: tuple(solved(number) for number in range(n)))
CONVERSATIONS = st.lists(st.text("ab ", max_size=20), max_size=5).map(
    lambda texts: [
        {"role": role, "content": text} for text in texts for role in ("user", "assistant")
    ]
)
BUDGETS = st.integers(8, 160)
PROMPTS = {
    "earlier": CONVERSATIONS,
    "passages": PASSAGES,
    "demonstrations": DEMONSTRATIONS,
    "budget": BUDGETS,
    "prompt_format": st.sampled_from(FORMATS),
}


def tokens_of(prompt: Prompt, per_message: int = 2) -> int:
    return per_message + sum(words(turn["content"]) + per_message for turn in prompt.messages)


@given(**PROMPTS)
def test_never_over_budget_and_the_count_is_exact(
    earlier: list[Message],
    passages: tuple[Passage, ...],
    demonstrations: tuple[Demonstration, ...],
    budget: int,
    prompt_format: PromptFormat,
) -> None:
    prompt = composed(
        [*earlier, *FINAL],
        passages,
        demonstrations,
        budget=budget,
        prompt_format=prompt_format,
    )
    assert prompt.tokens == tokens_of(prompt) <= budget


@given(**PROMPTS)
def test_only_the_least_worthy_pieces_are_dropped_and_only_for_want_of_room(
    earlier: list[Message],
    passages: tuple[Passage, ...],
    demonstrations: tuple[Demonstration, ...],
    budget: int,
    prompt_format: PromptFormat,
) -> None:
    conversation = [*earlier, *FINAL]
    prompt = composed(
        conversation,
        passages,
        demonstrations,
        budget=budget,
        prompt_format=prompt_format,
    )
    kept = len(prompt.demonstrations)
    assert prompt.demonstrations == demonstrations[len(demonstrations) - kept :]
    full = composed(conversation, passages, demonstrations, prompt_format=prompt_format)
    assert prompt.sources == full.sources[: len(prompt.sources)]
    whole = {id(source.passage) for source in prompt.sources}
    assert all(source in prompt.sources for source in full.sources if id(source.passage) in whole)
    if prompt != full:
        assert full.tokens > budget
    roomier = composed(
        conversation, passages, demonstrations, budget=budget + 40, prompt_format=prompt_format
    )
    assert len(roomier.messages) >= len(prompt.messages)


@given(PASSAGES, st.sampled_from(FORMATS))
def test_every_quote_is_its_documents_text_and_ids_run_from_one(
    passages: tuple[Passage, ...], prompt_format: PromptFormat
) -> None:
    prompt = composed(passages=passages, prompt_format=prompt_format)
    assert [source.id for source in prompt.sources] == list(range(1, len(prompt.sources) + 1))
    for source in prompt.sources:
        shift = source.passage.start
        assert source.quote == source.passage.text[source.start - shift : source.end - shift]
    number = {id(one): place for place, one in enumerate(passages)}
    shown = [number[id(source.passage)] for source in prompt.sources]
    assert shown == sorted(shown)


@given(**PROMPTS)
def test_compose_is_pure(
    earlier: list[Message],
    passages: tuple[Passage, ...],
    demonstrations: tuple[Demonstration, ...],
    budget: int,
    prompt_format: PromptFormat,
) -> None:
    conversation = [*earlier, *FINAL]
    before = [dict(turn) for turn in conversation]
    prompts = [
        composed(
            conversation,
            passages,
            demonstrations,
            budget=budget,
            prompt_format=prompt_format,
        )
        for _ in range(2)
    ]
    assert prompts[0] == prompts[1]
    assert conversation == before


def test_twenty_sentences_are_composed_in_under_a_millisecond() -> None:
    texts = [f"Sentence {n} says something of ordinary length about it." for n in range(5)]
    passages = tuple(passage(*texts, score=score) for score in (0.9, 0.8, 0.7, 0.6))
    best = min(_seconds_to_compose(passages) for _ in range(20))
    assert best < 0.001


def _seconds_to_compose(passages: tuple[Passage, ...]) -> float:
    started = time.perf_counter()
    compose(
        "sentences", FINAL, passages, (solved(1), solved(2)), "", PLENTY, lambda _: 1, 4, REFUSAL
    )
    return time.perf_counter() - started


def test_the_retrievers_order_stays_whatever_the_cosines() -> None:
    first = passage("First.", score=0.3)
    second = replace(first, text="Other.", document="other.md")
    prompt = composed(passages=(first, second))
    assert [source.quote for source in prompt.sources] == ["First.", "Other."]
