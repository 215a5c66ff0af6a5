"""The index that is searched, with the model that made it; another model's index is followed while serving.

A model and the store of its vectors are opened, used and let go of together, so that a question is never
embedded by one model and put to the vectors of another. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from app.door import StoreDoor
from app.embedding import Embedding
from app.opening import IndexDoors, limits_of
from app.search.request import SearchRequest
from app.search.results import SearchResult
from app.search.service import SearchService
from app.settings import Settings
from indexer.errors import IndexerError
from indexer.schema import collection_schema
from lusifer.errors import LusiferError, ServiceError
from store.base import Schema, Store
from store.errors import FingerprintMismatch, StoreError, StoreMissing

T = TypeVar("T")

log = logging.getLogger("lusifer.index")

#: How often to look whether the index is another one, in seconds.
WATCH_SECONDS = 3.0
#: How long a request waits for another model to be loaded, in seconds.
_FOLLOW_SECONDS = 5.0
#: After how long a model that could not be loaded is tried again, in seconds.
_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Generation:
    """A model, the way to its store, and searches with both."""

    model: Embedding
    door: StoreDoor
    search: SearchService


class LiveIndex:
    """Answers from the index there is, and from the next when it has taken its place.

    Args:
        settings: which index.
        model: to begin with.
        executor: one thread, in which models run.
        doors: how to open stores, to look which model made the index, and to load that.
    """

    def __init__(self, settings: Settings, model: Embedding, executor: Executor, doors: IndexDoors) -> None:
        self._settings = settings
        self._executor = executor
        self._doors = doors
        self._following = threading.Lock()
        self._refused: tuple[Schema, float] | None = None
        self._complaint = ""
        self._former: Generation | None = None
        self._current = self._open(model)

    @property
    def model(self) -> Embedding:
        """The model that questions are embedded with now."""
        return self._current.model

    def ask(self, question: Callable[[Store], T]) -> T:
        """Put a question that needs no model to the store. Blocks; call it in a thread.

        Raises:
            StoreError: the store cannot be opened or asked.
        """
        generation = self._current
        try:
            return generation.door.ask(question)
        except StoreError as error:
            if not self._has_moved(generation, error):
                raise
        return self._current.door.ask(question)

    async def search(self, request: SearchRequest) -> SearchResult:
        """Answer one question.

        Raises:
            RequestError: the request cannot be answered as it is.
            StoreError: the store cannot be asked.
            LusiferError: the model cannot be used.
        """
        generation = self._current
        try:
            return await generation.search.search(request)
        except (StoreError, ServiceError) as error:
            if not await asyncio.to_thread(self._has_moved, generation, error):
                raise
        return await self._current.search.search(request)

    async def watch(self) -> None:
        """Look again and again whether the index is another one, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Follow the index if it is another one, and let go of what the last step left."""
        self._drop_former()
        with self._following:
            self._follow()

    async def close(self) -> None:
        """Finish searches and let go of the store."""
        await self._current.search.close()
        self._drop_former()
        self._current.door.close()

    def _open(self, model: Embedding) -> Generation:
        settings = self._settings
        door = StoreDoor(lambda: self._doors.open_store(settings, model))
        search = SearchService(
            door.ask,
            model,
            self._executor,
            limits=limits_of(settings),
            candidates=settings.candidates,
            batch_wait=settings.batch_wait_ms / 1000,
        )
        return Generation(model, door, search)

    def _has_moved(self, seen: Generation, error: Exception) -> bool:
        """Tell whether there is another generation by now than the one that failed so."""
        # A server that is away, a full disk or a wrong request has nothing to do with the model.
        if not isinstance(error, FingerprintMismatch | StoreMissing | ServiceError) and (
            type(error) is not StoreError
        ):
            return False
        if not self._following.acquire(timeout=_FOLLOW_SECONDS):
            return False
        try:
            if self._current is seen:
                self._follow()
        finally:
            self._following.release()
        return self._current is not seen

    def _follow(self) -> None:
        """Open the index there is now, if it is another one; where that fails, say why, once."""
        try:
            self._open_next()
            self._complaint = ""
        except (StoreError, LusiferError, IndexerError) as error:
            if error.message != self._complaint:
                log.warning("cannot follow the index: %s", error)
            self._complaint = error.message

    def _open_next(self) -> None:
        schema = self._doors.find_schema(self._settings)
        if schema is None or schema == collection_schema(self.model):
            return
        now = time.monotonic()
        if self._refused is not None and self._refused[0] == schema and now < self._refused[1]:
            return
        # A model that cannot be had now is not to be had three seconds later either.
        self._refused = schema, now + _RETRY_SECONDS
        model = self._doors.load_for(self._settings, schema)
        self._refused = None
        self._former, self._current = self._current, self._open(model)
        log.info("the index is now one of %s (%s)", model.name, model.fingerprint)

    def _drop_former(self) -> None:
        """Close the store of the generation before, whose last searches had time to end."""
        former, self._former = self._former, None
        if former is not None:
            former.door.close()
