"""What routes ask FastAPI for."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from app.auth import Access
from app.embeddings.service import EmbeddingLimits, EmbeddingService
from app.settings import Settings
from lusifer.errors import LusiferError
from search.embedding import Embedding
from search.index import IndexDoors, LiveIndex, limits_of
from search.request import Limits, SearchRequest
from search.service import search_once
from store.errors import StoreError

# What the running application holds: settings, the index with its model, the embedding service.


log = logging.getLogger("lusifer.store")


@dataclass(frozen=True, slots=True)
class Resources:
    """What requests are answered with."""

    settings: Settings
    limits: Limits
    access: Access
    index: LiveIndex
    embeddings: EmbeddingService
    executor: ThreadPoolExecutor

    @classmethod
    def open(cls, settings: Settings, access: Access, model: Embedding, doors: IndexDoors) -> Resources:
        """Put together what requests need; the store is opened when first asked."""
        # One thread for questions and for the embedding service: a model is not run twice at a time.
        executor = ThreadPoolExecutor(1, thread_name_prefix="embed")
        index = LiveIndex(settings, model, executor, doors)
        embeddings = EmbeddingService(
            lambda: index.model,
            executor,
            EmbeddingLimits.of(settings),
            wait=settings.batch_wait_ms / 1000,
        )
        return cls(settings, limits_of(settings), access, index, embeddings, executor)

    @property
    def model(self) -> Embedding:
        """The model that questions are embedded with now."""
        return self.index.model

    def warm_up(self) -> None:
        """Open the store and use each part once: the first question is answered as fast as the next."""
        try:
            self.index.ask(lambda store: search_once(store, self.model, SearchRequest("warm up", limit=1)))
        except (StoreError, LusiferError) as error:
            log.warning("%s", error)

    async def close(self) -> None:
        """Finish what was asked for and let go of the store."""
        await self.index.close()
        await self.embeddings.close()
        self.executor.shutdown()


def get_resources(request: Request) -> Resources:
    """The resources the lifespan made."""
    return cast("Resources", request.app.state.resources)


ResourcesDep = Annotated[Resources, Depends(get_resources)]
