"""What is refused before anything is looked up or asked: too long, forged, or beyond the mode."""

from dataclasses import replace

from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import Found
from service.answer.tokens import TokenCounter
from service.errors import ContextLengthExceeded, InvalidRequest

LONGEST_TOKEN = 64  # bytes, generously


class Checks:
    """Texts against one base: its context in tokens, and its control tokens."""

    def __init__(self, tokens: TokenCounter, context: int) -> None:
        self._tokens = tokens
        self._context = context

    def check(self, request: ChatRequest, limit: int) -> None:
        """Refuse a question that can never fit, and a message with a control token."""
        self._check_length(request.question(), limit)
        for number, message in enumerate(request.messages):
            if token := self._tokens.control_token(message.text()):
                raise InvalidRequest(
                    f"A message holds the base's control token {token!r}",
                    "Leave it out: it would forge a turn of the conversation",
                    param=f"messages.{number}.content",
                )

    def clean(self, found: Found) -> Found:
        """A document could forge a turn as well: its passage is left out, not altered."""
        clean = tuple(p for p in found.passages if not self._tokens.control_token(p.text))
        return found if len(clean) == len(found.passages) else replace(found, passages=clean)

    def too_long(self, tokens: int, limit: int) -> ContextLengthExceeded:
        """The error that names what does not fit."""
        return ContextLengthExceeded(
            f"This base's context is {self._context} tokens; {tokens} in the messages "
            f"and {limit} for the answer do not fit",
            "Shorten the question or lower max_tokens",
            param="messages",
        )

    def _check_length(self, question: str, limit: int) -> None:
        """A question has no more tokens than bytes: most need not be counted."""
        room = self._context - limit
        size = len(question.encode())
        if size > room * LONGEST_TOKEN:
            raise self.too_long(size // LONGEST_TOKEN, limit)
        if size > room and (tokens := self._tokens.count(question)) > room:
            raise self.too_long(tokens, limit)


def refuse_what_the_mode_cannot(request: ChatRequest, mode: Mode) -> None:
    """`verbatim` and `quote` have only the documents' sentences to say."""
    if mode == "generate":
        return
    free = 'Send "dslm": {"mode": "generate"} with it'
    if not request.dslm.passages:
        message = f"The answer mode `{mode}` cannot do without passages"
        raise InvalidRequest(message, free, param="dslm.passages")
    alone = ("n",) if mode == "quote" and (request.n or 1) > 1 else ()
    for name in (*request.constraints(), *alone):
        message = f"`{name}` cannot be combined with the answer mode `{mode}`"
        raise InvalidRequest(message, free, param=name)
