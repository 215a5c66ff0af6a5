"""The way to the store of one model's vectors. Must not know models, routes or pages."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

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
