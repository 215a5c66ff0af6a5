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
from typing import TypedDict, TypeVar

from app.settings import Settings
from indexer.errors import IndexerError
from indexer.session import collection_schema
from lusifer.errors import LusiferError, ServiceError
from search.embedding import Embedding
from search.request import Limits, SearchRequest
from search.result import SearchResult
from search.service import SearchService
from store.errors import FingerprintMismatch, InvalidRequest, StoreError, StoreMissing
from store.types import Schema, Store

# Load the model and open the index that the settings name: for the server and for single commands.


ModelLoader = Callable[[Settings], Embedding]
StoreOpener = Callable[[Settings, Embedding], Store]

log = logging.getLogger("lusifer.index")


def limits_of(settings: Settings) -> Limits:
    """How much may be asked for at a time."""
    return Limits(settings.max_query_characters, settings.max_limit, settings.max_offset)


def load_model(settings: Settings) -> Embedding:
    """Load the model the settings name.

    Raises:
        UsageError: the settings contradict each other.
        LusiferError: it cannot be loaded.
    """
    from indexer.model import SEARCHING_PATIENCE
    from indexer.model import load_model as load

    return load(settings, patience=SEARCHING_PATIENCE)


def load_index_model(settings: Settings) -> Embedding:
    """Load the model that made the index; the one the settings name where there is no such index or model.

    Raises:
        UsageError, LusiferError: as for ``load_model``.
    """
    try:
        schema = find_schema(settings)
        if schema is not None:
            return load_for(settings, schema)
    except StoreError as error:
        # Whoever asks the store will be told; a server can be started all the same.
        log.warning("%s", error)
    return load_model(settings)


def load_for(settings: Settings, schema: Schema) -> Embedding:
    """Load the model that made an index: the one the settings name, or else the one the index names.

    Raises:
        UsageError: the settings contradict each other.
        FingerprintMismatch: neither is that model, or can be loaded.
    """
    from indexer.model import SEARCHING_PATIENCE, SHIPPED, load_reference, model_reference
    from indexer.model import load_model as load
    from indexer.session import collection_schema

    wanted = model_reference(settings, schema.model)
    reasons = []
    for reference in dict.fromkeys((wanted, schema.model)):
        try:
            if reference == wanted:
                model = load(settings, schema.model, patience=SEARCHING_PATIENCE)
            else:
                model = load_reference(reference, settings, patience=SEARCHING_PATIENCE)
        except LusiferError as error:
            reasons.append(error.message)
            continue
        if collection_schema(model) == schema:
            if reference != wanted:
                log.warning("the index is searched with %s, which made it", reference or SHIPPED)
            return model
        reasons.append(f"{reference or SHIPPED} is another model or version by now")
    raise FingerprintMismatch(
        f"The index was made with {schema.model or SHIPPED}, which cannot be had here: {'; '.join(reasons)}",
        hint="Run `lusifer index` to make it anew with the model that is set; this server will follow.",
    )


class _Place(TypedDict):
    """Where the functions of ``store`` find a collection."""

    url: str | None
    api_key: str | None
    collection: str


def _place(settings: Settings) -> _Place:
    key = settings.qdrant_api_key
    return _Place(
        url=settings.qdrant_url,
        api_key=None if key is None else key.get_secret_value(),
        collection=settings.collection,
    )


def find_schema(settings: Settings) -> Schema | None:
    """Read what made the index that is searched now; None if there is none.

    Raises:
        StoreError: it cannot be read.
    """
    from store import current_schema

    return current_schema(settings.data, **_place(settings))


def open_index(settings: Settings, model: Embedding) -> Store:
    """Open the store that was filled with this model.

    Raises:
        StoreError: there is none, another model filled it, or it cannot be reached.
    """
    from indexer.session import collection_schema
    from store import open_store

    return open_store(settings.data, collection_schema(model), **_place(settings))


@dataclass(frozen=True, slots=True)
class IndexDoors:
    """How to get at the index.

    Attributes:
        open_store: opens the store that was filled with a model.
        find_schema: reads what made the index that is searched now.
        load_for: loads the model that made it.
    """

    open_store: StoreOpener = open_index
    find_schema: Callable[[Settings], Schema | None] = find_schema
    load_for: Callable[[Settings, Schema], Embedding] = load_for


# The way to the store of one model's vectors. Must not know models, routes or pages.


T = TypeVar("T")

store_log = logging.getLogger("lusifer.store")


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
            store_log.warning("the store failed (%s) and will be opened again", type(error).__name__)
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
