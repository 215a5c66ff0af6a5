"""What the running application holds, and how routes ask for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from app.embeddings.service import EmbeddingLimits, EmbeddingService
from app.settings import Settings
from common.errors import HintedError
from search.index import SearchIndex
from search.request import SearchRequest

log = logging.getLogger("lusifer.store")


@dataclass(frozen=True, slots=True)
class AppState:
    """What requests are answered with."""

    settings: Settings
    index: SearchIndex
    embeddings: EmbeddingService

    @classmethod
    def of(cls, settings: Settings, index: SearchIndex) -> AppState:
        """Put together what requests need; index and embedding service share one model."""
        return cls(settings, index, EmbeddingService(lambda: index.model, EmbeddingLimits.of(settings)))

    def warm_up(self) -> None:
        """Open the index and use each part once: the first question is answered as fast as the next."""
        try:
            self.index.search(SearchRequest("warm up échauffement 준비 تحضير", limit=1))
        except HintedError as error:
            log.warning("%s", error)


async def get_state(request: Request) -> AppState:
    """Return what the lifespan made."""
    return cast("AppState", request.app.state.app)


StateDep = Annotated[AppState, Depends(get_state)]
