"""What was decided for one question, and what its answer will say about itself."""

import time
from dataclasses import dataclass, field
from typing import Any

from adapters.prompt import Prompt
from indexer.records import Demonstration, Passage
from service.answer.asking import UNASKED, Sought
from service.answer.completion import CompletionRequest
from service.answer.local import LocalAnswer
from service.answer.opened import OpenRelease, Role
from service.answer.relay import Relay
from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import NOTHING, Found
from service.engines.engine import CHAT
from service.engines.pool import EnginePool, Held, Lease, Unit
from service.engines.stream import EngineStream


@dataclass(slots=True)
class Plan:
    """One question on its way to one of the pool's engines; `opened` is None for the bare base.

    `held`: the adapter that is to answer. `tried`: engines that failed already.
    """

    request: ChatRequest | CompletionRequest
    mode: Mode
    pool: EnginePool
    path: str = CHAT
    opened: OpenRelease | None = None
    sought: Sought = UNASKED
    found: Found = NOTHING
    prompt: Prompt | None = None
    local: LocalAnswer | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    held: Held | None = None
    lease: Lease | None = None
    tried: tuple[Unit, ...] = ()
    stream: EngineStream | None = None
    relay: Relay | None = None
    usage: dict[str, int] = field(default_factory=dict)
    compose_seconds: float = 0.0
    refused: bool = False  # what the engine said is that the documents do not say
    asked: float = 0.0  # when the engine was asked, by `time.perf_counter`

    @property
    def domain(self) -> str:
        return self.opened.release.domain if self.opened else self.request.model

    @property
    def role(self) -> Role | None:
        """Why this release answers; None for the bare base."""
        if self.opened is None:
            return None
        return "pinned" if "@" in self.request.model else self.opened.role

    def streamed(self) -> str:
        """What the first choice of a streamed answer has said."""
        if self.local:
            return self.local.text
        return self.relay.text() if self.relay else ""

    def streamed_id(self) -> str:
        """By which the client knows a streamed answer; "" before it began."""
        if self.local:
            return self.local.id
        return self.relay.answer_id if self.relay else ""

    def was_refused(self) -> bool:
        """Did the answer say that the documents do not say?"""
        return self.local.refused if self.local else self.refused

    def spent(self) -> dict[str, int]:
        """The engine's count of tokens, as far as it has told."""
        return (self.relay.usage if self.relay else None) or self.usage

    def describe(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The answer's `dslm` object."""
        assert self.opened is not None
        release = self.opened.release
        adapter = release.adapter if self.request.dslm.adapter else None
        about = {
            "domain": release.domain,
            "release": release.number,
            "snapshot": release.snapshot,
            "adapter": adapter.label if adapter else None,
            "adapter_digest": adapter.digest if adapter else None,
            "mode": self.mode,
            **outcome,
            "passages": [
                {"document": p.document, "chunk": p.chunk, "score": round(p.score, 4)}
                for p in self.found.passages
            ],
            "demonstrations": [d.id for d in self.found.demonstrations],
        }
        return {**about, "explain": self._explain()} if self.request.dslm.explain else about

    def _explain(self) -> dict[str, Any]:
        """How the answer came about; nothing but the asked release's own, and the request's."""
        prompt, found, spent = self.prompt, self.found, self.spent()
        ids: dict[str, list[int]] = {}
        for source in prompt.sources if prompt else ():
            ids.setdefault(source.passage.chunk, []).append(source.id)
        shown = {one.id for one in prompt.demonstrations} if prompt else set()
        return {
            "search_text": self.sought.text,
            "rewritten": self.sought.rewritten,
            "messages": self.payload.get("messages", []),
            "passages": [_passage(one, ids.get(one.chunk, [])) for one in found.passages],
            "demonstrations": [_solved(one, shown) for one in found.demonstrations],
            "prompt_tokens": prompt.tokens if prompt else 0,
            "tokens": {
                "composed": prompt.tokens if prompt else 0,
                "prompt": spent.get("prompt_tokens", 0),
                "completion": spent.get("completion_tokens", 0),
            },
            "passages_shown": len(ids),
            "demonstrations_shown": len(shown),
            "retrieval": found.explain(),
            "retrieval_seconds": round(found.seconds, 6),
            "seconds": self._seconds(),
        }

    def _seconds(self) -> dict[str, float]:
        """What each step took, as far as it was taken."""
        taken = {
            "rewrite": self.sought.seconds,
            "embed": self.found.embed_seconds,
            "search": self.found.seconds - self.found.embed_seconds,
            "compose": self.compose_seconds,
            "engine": time.perf_counter() - self.asked if self.asked else 0.0,
        }
        return {name: round(seconds, 6) for name, seconds in taken.items()}


def _passage(passage: Passage, ids: list[int]) -> dict[str, Any]:
    """`ids`: by which the prompt shows it, or its sentences; none if it did not fit."""
    return {
        "document": passage.document,
        "chunk": passage.chunk,
        "title": passage.title,
        "headings": list(passage.headings),
        "start": passage.start,
        "end": passage.start + len(passage.text),
        "page": passage.page,
        "score": round(passage.score, 4),
        "text": passage.text,
        "ids": ids,
    }


def _solved(one: Demonstration, shown: set[str]) -> dict[str, Any]:
    return {
        "id": one.id,
        "question": one.question,
        "answer": one.answer,
        "score": round(one.score, 4),
        "shown": one.id in shown,
    }
