"""What an answer of the engine ends with: annotations for each choice, `dslm` for all of them."""

from collections.abc import Sequence
from typing import Any

from adapters.prompt import Source
from service.answer.citations import Citations, cite, merged
from service.answer.markers import Markers
from service.answer.plan import Plan
from service.answer.request import ChatRequest


class Conclusion:
    """Of one chat, written whole or streamed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cited: dict[int, Citations] = {}

    def follow(self) -> Markers:
        """What checks the text of one choice."""
        return Markers(self._citable())

    def choice(self, index: int, markers: Markers) -> dict[str, Any]:
        """For the last chunk of a choice; after the last of all with what the answer rests on."""
        plan = self._plan
        if plan.opened is None:
            return {"annotations": []}
        cited = self._cite(markers)
        self._cited[index] = cited
        if len(self._cited) < (plan.request.n or 1):
            return {"annotations": cited.annotations}
        outcome = merged(self._cited)
        plan.refused = bool(outcome["refused"])
        return {"annotations": cited.annotations, "dslm": plan.describe(outcome)}

    def whole(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The reply with its texts checked; its choices are changed in place."""
        for choice in reply["choices"]:
            message, markers = choice["message"], self.follow()
            if message.get("content"):
                markers.feed(message["content"])
                markers.end()
                message["content"] = markers.text
            ending = self.choice(choice["index"], markers)
            message["annotations"] = ending.pop("annotations")
            reply |= ending
        return reply

    def _citable(self) -> Sequence[Source] | None:
        """None where a `[1]` is no citation: without documents, or in a form that was asked for."""
        plan = self._plan
        shaped = isinstance(plan.request, ChatRequest) and plan.request.is_shaped()
        if plan.opened is None or plan.prompt is None or shaped:
            return None
        return plan.prompt.sources if plan.opened.release.retrieval.passages else None

    def _cite(self, markers: Markers) -> Citations:
        sources, opened = self._citable(), self._plan.opened
        if sources is None or opened is None:
            return Citations(markers.text)
        return cite(markers, sources, opened.label, opened.release.refusal)
