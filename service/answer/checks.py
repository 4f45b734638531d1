"""What is refused before anything is looked up or asked: too long, forged, or beyond the mode."""

from dataclasses import replace

from service.answer.completion import CompletionRequest
from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import Found
from service.answer.tokens import Tokens
from service.errors import ContextLengthExceeded, InvalidRequest, Unsupported

LONGEST_TOKEN = 64  # bytes, generously
FREE = 'Send "dslm": {"mode": "generate"} with it'
# What changes the form of a sampled answer: a quotation is not sampled, and would not obey.
SAMPLED = ("stop", "stop_token_ids", "logprobs", "min_tokens", "ignore_eos")


class Checks:
    """Texts against one base: its context in tokens, and its control tokens."""

    def __init__(self, tokens: Tokens, context: int) -> None:
        self._tokens = tokens
        self._context = context

    def check(self, request: ChatRequest, limit: int) -> None:
        """Refuse a question that can never fit, and a message with a control token."""
        self._check_length(request.question(), limit)
        for number, message in enumerate(request.messages):
            self._refuse_control(message.rendered(), f"messages[{number}].content")
        self._refuse_control(request.tools_text(), "tools")

    def refuse_unknown_to_template(self, request: ChatRequest) -> None:
        """What only a chat template can honour is refused where this base's does not name it."""
        named = dict.fromkeys(request.chat_template_kwargs or (), "chat_template_kwargs")
        if request.reasoning_effort:
            named["reasoning_effort"] = "reasoning_effort"
        for name, field in named.items():
            if not self._tokens.template_names(name):
                message = f"The base's chat template knows no `{name}`"
                raise Unsupported(message, "Leave it out", param=field)
        if request.may_call() and not self._tokens.template_names("tools"):
            message = "The base's chat template shows no tools: it was taught to call none"
            raise Unsupported(message, "Leave them out, or ask another base", param="tools")

    def clean(self, found: Found) -> Found:
        """A document could forge a turn as well: its passage is left out, not altered."""
        clean = tuple(
            p
            for p in found.passages
            if not self._tokens.control_token("\n".join((p.title, *p.headings, p.text)))
        )
        return found if len(clean) == len(found.passages) else replace(found, passages=clean)

    def too_long(self, tokens: int, limit: int) -> ContextLengthExceeded:
        """The error that names what does not fit."""
        return ContextLengthExceeded(
            f"This base's context is {self._context} tokens; {tokens} in the messages "
            f"and {limit} for the answer do not fit",
            "Shorten the question or lower max_tokens",
            param="messages",
        )

    def _refuse_control(self, text: str, where: str) -> None:
        if token := self._tokens.control_token(text):
            raise InvalidRequest(
                f"A message holds the base's control token {token!r}",
                "Leave it out: it would forge a turn of the conversation",
                param=where,
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
    for name in _beyond(request, mode):
        message = f"`{name}` cannot be combined with the answer mode `{mode}`"
        raise InvalidRequest(message, FREE, param=name)


def can_be_quoted(request: ChatRequest) -> bool:
    """Would the mode `quote` have an answer to this request?"""
    return not _beyond(request, "quote")


def _beyond(request: ChatRequest, mode: Mode) -> list[str]:
    found = list(request.constraints())
    if not request.dslm.passages:
        found.append("dslm.passages")
    if mode == "quote":
        found += [name for name in SAMPLED if getattr(request, name)]
        found += ["n"] if (request.n or 1) > 1 else []
    return found


def refuse_what_the_base_cannot(request: ChatRequest | CompletionRequest) -> None:
    """The bare base has no documents, and nothing to explain."""
    asked = {
        "mode": request.dslm.mode not in (None, "generate"),
        "explain": request.dslm.explain,
        "filter": bool(request.dslm.filter),
    }
    for name, wanted in asked.items():
        if wanted:
            message = f"The model `base` has no `dslm.{name}`: it rests on no documents"
            raise Unsupported(message, "Ask a domain", param=f"dslm.{name}")


def check_greedy(request: ChatRequest | CompletionRequest) -> None:
    """vLLM refuses this; OpenAI would answer with equal choices, which nobody can want."""
    if (request.n or 1) > 1 and request.temperature == 0:
        message = f"`n` = {request.n} with temperature 0 would be equal answers"
        raise Unsupported(message, "Raise the temperature, or ask for one", param="n")


# OpenAI's own: what any model behind its API may be asked.
EVERYWHERE = frozenset(
    (
        *("temperature", "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty"),
        *("logit_bias", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice"),
        *("parallel_tool_calls", "reasoning_effort"),
    )
)


def refuse_what_an_external_cannot(request: ChatRequest | CompletionRequest, name: str) -> None:
    """vLLM's extras, legacy completions and `verbatim`: never dropped, and never sent to fail."""
    if isinstance(request, CompletionRequest):
        message = f"The external model `{name}` takes chats only"
        raise Unsupported(message, "Ask /v1/chat/completions", param="model")
    if request.dslm.mode == "verbatim":
        message = f"The external model `{name}` cannot be held to the documents' sentences"
        raise Unsupported(message, FREE, param="dslm.mode")
    for field in request.sampling():
        if field not in EVERYWHERE:
            message = f"`{field}` is vLLM's, and `{name}` is an external model"
            raise Unsupported(message, "Leave it out, or ask another base", param=field)
