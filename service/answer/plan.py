"""What was decided for one question, and what its answer will say about itself."""

from dataclasses import dataclass, field
from typing import Any

from adapters.prompt import Prompt
from service.answer.completion import CompletionRequest
from service.answer.local import LocalAnswer
from service.answer.opened import OpenRelease, Role
from service.answer.relay import Relay
from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import NOTHING, Found
from service.engines.engine import CHAT, EngineStream


@dataclass(slots=True)
class Plan:
    """One question on its way; `opened` is None for the bare base."""

    request: ChatRequest | CompletionRequest
    mode: Mode
    path: str = CHAT
    opened: OpenRelease | None = None
    found: Found = NOTHING
    prompt: Prompt | None = None
    local: LocalAnswer | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    stream: EngineStream | None = None
    relay: Relay | None = None
    usage: dict[str, int] = field(default_factory=dict)

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
        prompt = self.prompt
        return {
            "messages": self.payload.get("messages", []),
            "prompt_tokens": prompt.tokens if prompt else 0,
            "passages_shown": len({s.passage.chunk for s in prompt.sources}) if prompt else 0,
            "demonstrations_shown": len(prompt.demonstrations) if prompt else 0,
            "retrieval": self.found.explain(),
            "retrieval_seconds": round(self.found.seconds, 6),
        }
