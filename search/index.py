"""The index that is searched: its current collection, open, with the model that made it.

A model and the store of its vectors are opened and used together, so that a question embedded by one model is
never put to the vectors of another. Every request compares the collection that is open with the current one;
after a change of model the first request to notice opens the next, while others are still answered from the
former. Calls are repeated in two places only: here once, if the collection changed under a request, and in
the store's client, which reconnects.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from lusifer.embedder import DEFAULT_MODEL, TextEmbedder
from lusifer.errors import LusiferError, ServiceError
from search.batching import BatchedEmbedder
from search.ranking import Calibration
from search.request import Limits, SearchRequest, check_request
from search.result import SearchResult
from search.service import search
from store.errors import FingerprintMismatch, InvalidRequest, StoreError
from store.location import CollectionInfo, IndexLocation
from store.types import Schema, Store

T = TypeVar("T")
#: Loads the model that made a collection; the one that is set, if there is no collection.
ModelLoader = Callable[[Schema | None], TextEmbedder]

#: Seconds before a model that could not be loaded is tried again.
RETRY_SECONDS = 30.0

log = logging.getLogger("lusifer.index")


def load_model_of(schema: Schema, wanted: str, load: Callable[[str], TextEmbedder]) -> TextEmbedder:
    """Load the model that made a collection, by the reference that is set or else the collection's own.

    Args:
        schema: the collection's.
        wanted: reference that is set; it may name the same model in another place, such as a service.
        load: loads a model by reference.

    Raises:
        FingerprintMismatch: neither reference leads to that model.
    """
    reasons = []
    for reference in dict.fromkeys((wanted, schema.model)):
        try:
            model = load(reference)
        except LusiferError as error:
            reasons.append(error.message)
            continue
        if model.fingerprint == schema.model_fingerprint:
            if reference != wanted:
                log.warning("the index is searched with %s, which made it", reference or DEFAULT_MODEL)
            return model
        reasons.append(f"{reference or DEFAULT_MODEL} is another model or version by now")
    raise FingerprintMismatch(
        f"The index was made with {schema.model or DEFAULT_MODEL}, which cannot be loaded: "
        f"{'; '.join(reasons)}",
        hint="Index the documents again with the model that is set; searches follow.",
    )


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Open:
    """A collection with its model; its store is closed when the last question that uses it is answered."""

    info: CollectionInfo
    store: Store
    model: BatchedEmbedder
    calibration: Calibration | None


class SearchIndex:
    """Answers questions from the current collection; may be used by many threads.

    Args:
        location: where the collections are.
        load: loads models.
        limits: how much may be asked for.
        candidates: passages that each half of a search contributes.
        batch_wait: seconds that questions wait to be embedded together, by models that profit.
    """

    def __init__(
        self,
        location: IndexLocation,
        load: ModelLoader,
        *,
        limits: Limits,
        candidates: int = 200,
        batch_wait: float = 0.002,
    ) -> None:
        self.limits = limits
        self._location = location
        self._load = load
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._candidates = candidates
        self._batch_wait = batch_wait
        self._model: BatchedEmbedder | None = None
        self._open: _Open | None = None
        self._changing = threading.Lock()
        self._refused: tuple[CollectionInfo, Exception, float] | None = None

    @property
    def model(self) -> BatchedEmbedder:
        """The model in use: the current collection's or, before anything is indexed, the one that is set."""
        self.load_model()
        assert self._model is not None
        return self._model

    def load_model(self) -> None:
        """Load the current collection's model; the one that is set if there is none or it is gone.

        Harmless when repeated.

        Raises:
            LusiferError: it cannot be loaded.
        """
        if self._model is not None:
            return
        try:
            info = self._location.current()
            model = self._load(None if info is None else info.schema)
        except StoreError as error:
            # Who asks a question is told; a server can be started all the same.
            log.warning("%s", error)
            model = self._load(None)
        self._model = self._batched(model)

    def search(self, request: SearchRequest) -> SearchResult:
        """Answer a question. Blocks.

        Raises:
            RequestError: the request cannot be answered as it is.
            StoreError: the store cannot be asked.
            LusiferError: the model cannot be used.
        """
        request = check_request(request, self.limits)
        return self._ask(
            lambda index: search(
                index.store,
                index.model,
                request,
                calibration=index.calibration,
                candidates=self._candidates,
            )
        )

    def ask(self, question: Callable[[Store], T]) -> T:
        """Put a question that needs no model to the store. Blocks.

        Raises:
            StoreError: the store cannot be opened or asked.
        """
        return self._ask(lambda index: question(index.store))

    def close(self) -> None:
        """Let go of the store and the model's thread."""
        self._open = None
        self._executor.shutdown()

    def _ask(self, question: Callable[[_Open], T]) -> T:
        """Ask the current collection; once more if it is another one by the time it fails."""
        index = self._current()
        try:
            return question(index)
        except InvalidRequest:
            raise
        except (StoreError, ServiceError) as error:
            if isinstance(error, StoreError):
                log.warning("the store failed (%s) and is opened again", type(error).__name__)
                if self._open is index:
                    self._open = None
            if self._location.current() == index.info:
                raise
        return question(self._current())

    def _current(self) -> _Open:
        """Return the current collection, opening it if it is another one than is open."""
        info = self._location.current()
        index = self._open
        if index is not None and index.info == info:
            return index
        # While the next collection is opened, other questions are answered from the former.
        if not self._changing.acquire(blocking=index is None):
            assert index is not None
            return index
        try:
            if self._open is None or self._open.info != info:
                self._open = self._open_next(info)
            return self._open
        finally:
            self._changing.release()

    def _open_next(self, info: CollectionInfo | None) -> _Open:
        former = self._open
        if info is None:
            self._open = None
            self._location.open()  # raises StoreMissing and says what is missing
        assert info is not None
        try:
            model = self._model_of(info)
        except (StoreError, LusiferError):
            if former is None:
                raise
            return former
        calibration = Calibration.read(model.model.config.calibration)
        index = _Open(info, self._location.open(info), model, calibration)
        weakref.finalize(index, _close, index.store)
        if former is not None:
            log.info("the index is now one of %s (%s)", model.model.name, model.model.fingerprint)
        return index

    def _model_of(self, info: CollectionInfo) -> BatchedEmbedder:
        """Return the collection's model; one that could not be loaded is not tried with every question."""
        if self._model is not None and self._model.model.fingerprint == info.schema.model_fingerprint:
            return self._model
        if self._refused is not None:
            refused, error, until = self._refused
            if refused == info and time.monotonic() < until:
                raise error.with_traceback(None)
        try:
            self._model = self._batched(self._load(info.schema))
        except (StoreError, LusiferError) as error:
            log.warning("the index cannot be searched: %s", error)
            self._refused = info, error, time.monotonic() + RETRY_SECONDS
            raise
        return self._model

    def _batched(self, model: TextEmbedder) -> BatchedEmbedder:
        return BatchedEmbedder(model, self._executor, wait=self._batch_wait)


def _close(store: Store) -> None:
    try:
        store.close()
    except StoreError as error:
        log.warning("the store could not be closed: %s", error)
