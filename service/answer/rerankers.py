"""The cross-encoders in use, each loaded once, for the first question that wants it."""

import asyncio

from indexer.domain import RetrievalSettings
from indexer.errors import BadInput
from indexer.search.rerank import Scorer, load_scorer
from service.errors import Unavailable


class Rerankers:
    """By name; a question waits while its model is loaded."""

    def __init__(self) -> None:
        self._loaded: dict[str, Scorer] = {}
        self._loading = asyncio.Lock()

    async def get(self, settings: RetrievalSettings) -> Scorer | None:
        """None where the settings name none; Unavailable if it cannot be loaded."""
        name = settings.rerank
        if not name or not settings.passages:
            return None
        if name not in self._loaded:
            async with self._loading:
                if name not in self._loaded:
                    try:
                        self._loaded[name] = await asyncio.to_thread(load_scorer, name)
                    except BadInput as error:
                        raise Unavailable(error.message, error.remedy) from error
        return self._loaded[name]
