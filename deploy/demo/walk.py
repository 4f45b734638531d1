"""The steps of the tour. Each asks the service, checks what must hold, and says what it saw."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.answer import Answer, Piece, gather_pieces
from eval.client import Client
from eval.questions import Question, read_all_questions
from indexer.errors import DslmError

DOMAIN = "support"
OLD, NEW = "support-style@1", "support-style@2"
QUESTION = "How long does a full descaling cycle take?"
UNANSWERABLE = "Who won the world chess championship in 1972?"
# Forbidden to end, the answer goes on long after it is said: a stream to swap under.
LONG_TOKENS = 600
SWAP_AFTER = 60
TRIES = 5
LONG = {
    "temperature": 0,
    "max_tokens": LONG_TOKENS,
    "ignore_eos": True,
    "dslm": {"mode": "generate"},
}
FREE = {"temperature": 0, "dslm": {"mode": "generate"}}


class StepFailed(DslmError):
    """Something that the tour promises did not hold."""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A stream that ran on while its domain's adapter was swapped, and what was asked meanwhile."""

    stream: Answer
    seen_at_swap: int
    seen_after_answer: int
    meanwhile: Answer


def say(text: str = "") -> None:
    """One line for the visitor."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    say(f"\n== {text}")


def check(holds: bool, promise: str, otherwise: str = "") -> None:
    """Say that a promise held, or end the tour."""
    if not holds:
        raise StepFailed(f"This did not hold: {promise}", otherwise)
    say(f"   ok: {promise}")


async def ask_each_domain(client: Client, domains: Path) -> None:
    """Held-out questions of every domain, until it answers one; its sources are looked up."""
    heading("Each domain answers from its documents")
    for domain, questions in answerable(read_all_questions(domains)).items():
        answer = await first_answered(client, questions[:TRIES])
        check(bool(answer.citations), f"{domain} cites a source")
        for document in sorted({citation.document for citation in answer.citations}):
            await check_span(client, domain, document, answer)


def answerable(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """By domain, the questions that some document answers."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        if question.document is not None:
            found.setdefault(question.domain, []).append(question)
    return found


async def first_answered(client: Client, questions: Sequence[Question]) -> Answer:
    """The demonstration base is small and refuses now and then; its last word counts."""
    for question in questions:
        answer = await ask(client, question.domain, question.question)
        if answer.citations:
            break
    return answer


async def ask(
    client: Client, domain: str, question: str, options: dict[str, object] | None = None
) -> Answer:
    """Ask, and show the answer with its sources."""
    answer = await client.chat(domain, [{"role": "user", "content": question}], options)
    say(f"\n   {domain}> {question}")
    for line in answer.text.splitlines():
        say(f"   {line}")
    for citation in answer.citations:
        say(f"      source: {citation.document} [{citation.start}, {citation.end})")
    version = answer.dslm.get("adapter") or "no adapter"
    say(f"      release {answer.dslm['release']}, {version}, mode {answer.dslm['mode']}")
    return answer


async def check_span(client: Client, domain: str, document: str, answer: Answer) -> None:
    """Every quotation stands in the document where the answer says."""
    text = await client.document(domain, document)
    spans = [c for c in answer.citations if c.document == document]
    holds = all(text[c.start : c.end] == c.quote for c in spans)
    check(holds, f"the quotation stands in {document} at the place given")


async def swap_under_a_stream(client: Client) -> None:
    """The running stream stays as it was; new questions get the new version; then back."""
    heading("An adapter is swapped while an answer streams")
    before = await ask(client, DOMAIN, QUESTION, FREE)
    check(before.dslm["adapter"] == OLD, f"{DOMAIN} answers with {OLD}")
    undisturbed = await long_stream(client)
    say(f"\n   a long answer, undisturbed: {summary(undisturbed)}, {undisturbed.seconds:.1f} s")
    disturbed = await stream_across_swap(client)
    check_stream(undisturbed, disturbed)
    check_versions(before, disturbed.meanwhile)
    heading("Rolled back")
    await client.rollback(DOMAIN)
    after = await ask(client, DOMAIN, QUESTION, FREE)
    check(after.dslm["adapter"] == OLD, f"{DOMAIN} answers with {OLD} again")
    check(after.text == before.text, "the answer is what it was before the swap")


async def long_stream(client: Client) -> Answer:
    """A long answer that nothing disturbs."""
    messages = [{"role": "user", "content": QUESTION}]
    # Both long streams must find the same blocks in the prefix cache: this puts them there.
    await client.chat(DOMAIN, messages, {**LONG, "max_tokens": 1})
    return await client.streamed(DOMAIN, messages, LONG)


async def stream_across_swap(client: Client) -> Disturbed:
    """The same long answer; in its middle the adapter is swapped and a new question asked."""
    seen: list[Piece] = []
    streaming = asyncio.create_task(collect(client, seen))
    while len(seen) < SWAP_AFTER and not streaming.done():
        await asyncio.sleep(0.01)
    at_swap = len(seen)
    await client.set_adapter(DOMAIN, NEW)
    say(f"   after {at_swap} chunks: PUT /v1/domains/{DOMAIN}/adapter {NEW}")
    meanwhile = await ask(client, DOMAIN, QUESTION, FREE)
    after_answer = len(seen)
    await streaming
    return Disturbed(gather_pieces(seen, 0.0), at_swap, after_answer, meanwhile)


async def collect(client: Client, seen: list[Piece]) -> None:
    """Read the long stream into `seen` as it comes."""
    async with client.stream(DOMAIN, [{"role": "user", "content": QUESTION}], LONG) as pieces:
        async for piece in pieces:
            seen.append(piece)


def check_stream(undisturbed: Answer, disturbed: Disturbed) -> None:
    """It ran before, through and after the swap, and is the same to the byte."""
    stream, total = disturbed.stream, len(disturbed.stream.pieces)
    say(f"\n   the long answer, disturbed: {summary(stream)}")
    counts = f"{disturbed.seen_at_swap} chunks at the swap, {disturbed.seen_after_answer}"
    say(f"   {counts} when the new question was answered, {total} at the end")
    check(disturbed.seen_after_answer < total, "the stream outlived the swap and the new answer")
    check(stream.dslm["adapter"] == OLD, f"the running stream stayed with {OLD}")
    same = stream.text.encode() == undisturbed.text.encode()
    where = first_difference(undisturbed.text, stream.text)
    check(same, f"its {len(stream.text.encode())} bytes equal the undisturbed run's", where)
    # vLLM joins chunks when the reader lags, so that where they part is no promise.
    parted = "at the same places" if stream.pieces == undisturbed.pieces else "at other places"
    say(f"   parted into chunks {parted}")


def summary(answer: Answer) -> str:
    return f"{answer.text[:60]!r}... {len(answer.text)} characters"


def first_difference(left: str, right: str) -> str:
    """Where two texts part, for the message of a failed check."""
    pairs = enumerate(zip(left, right, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
    return f"They part at character {at}: {left[at : at + 40]!r} and {right[at : at + 40]!r}"


def check_versions(old: Answer, new: Answer) -> None:
    """The new question was answered by the new version, and it shows in how the answer ends."""
    check(new.dslm["adapter"] == NEW, f"the new question was answered by {NEW}")
    endings = ending(old), ending(new)
    check(endings[0] != endings[1], f"its house style shows: {endings[0]!r} became {endings[1]!r}")


def ending(answer: Answer) -> str:
    """What the adapter added behind the sentence, which is where its style shows."""
    quote = answer.citations[0].quote if answer.citations else ""
    return answer.text.rpartition(quote)[2] if quote in answer.text else answer.text[-24:]


async def ask_the_unanswerable(client: Client) -> None:
    """A question that no document answers is refused, and says so."""
    heading("A question that no document answers")
    answer = await ask(client, DOMAIN, UNANSWERABLE)
    check(bool(answer.dslm["refused"]), "the answer is a refusal")
    check(not answer.citations, "and cites nothing")
