"""What the running application holds: settings, model, store, search service.

Made and closed by the lifespan; no module of the application keeps any of this in a global. Must not know
routes or pages.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from app.access import Access
from app.embedding import Embedding
from app.opening import StoreOpener, limits_of
from app.search.request import Limits, SearchRequest
from app.search.service import SearchService, search_once
from app.serving.service import EmbeddingLimits, EmbeddingService
from app.settings import Settings
from lusifer.errors import LusiferError
from store.base import Store
from store.errors import InvalidRequest, StoreError

T = TypeVar("T")

log = logging.getLogger("lusifer.store")


class StoreDoor:
    """The way to the store: opened when first needed, and again after it failed.

    So a server can be started before anything is indexed, and outlives a store that is replaced.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self._store: Store | None = None
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Store], T]) -> T:
        """Put a question to the store. Blocks; call it in a thread.

        Raises:
            StoreError: the store cannot be opened or asked.
        """
        with self._lock:
            if self._store is None:
                self._store = self._open()
            store = self._store
        try:
            return question(store)
        except InvalidRequest:
            raise
        except StoreError as error:
            log.warning("the store failed (%s) and will be opened again", type(error).__name__)
            with self._lock:
                if self._store is store:
                    self._store = None
            raise

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What requests are answered with."""

    settings: Settings
    limits: Limits
    access: Access
    model: Embedding
    store: StoreDoor
    search: SearchService
    embeddings: EmbeddingService
    executor: ThreadPoolExecutor

    @classmethod
    def open(cls, settings: Settings, access: Access, model: Embedding, open_store: StoreOpener) -> Resources:
        """Put together what requests need; the store is opened when first asked."""
        limits = limits_of(settings)
        door = StoreDoor(lambda: open_store(settings, model))
        # One thread for questions and for the embedding service: a model is not run twice at a time.
        executor = ThreadPoolExecutor(1, thread_name_prefix="embed")
        wait = settings.batch_wait_ms / 1000
        search = SearchService(
            door.ask, model, executor, limits=limits, candidates=settings.candidates, batch_wait=wait
        )
        embeddings = EmbeddingService(lambda: model, executor, EmbeddingLimits.of(settings), wait=wait)
        return cls(settings, limits, access, model, door, search, embeddings, executor)

    def warm_up(self) -> None:
        """Open the store and use each part once: the first question is answered as fast as the next."""
        try:
            self.store.ask(lambda store: search_once(store, self.model, SearchRequest("warm up", limit=1)))
        except (StoreError, LusiferError) as error:
            log.warning("%s", error)

    async def close(self) -> None:
        """Finish what was asked for and let go of the store."""
        await self.search.close()
        await self.embeddings.close()
        self.executor.shutdown()
        self.store.close()
