"""The embedded store of a data folder: opened, made, set aside or removed by the one process that may.

Knows the folder's layout. Must not know sockets or clients.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from store.base import Schema
from store.collection import Collection
from store.edge import EdgeEngine
from store.errors import StoreDamaged, StoreError, StoreMissing
from store.locking import FileLock
from store.schema import check_schema

LOCK_NAME = "owner.lock"
FOLDER_NAME = "store"


class Embedded:
    """The store at ``<data>/store``. Opens it when it is first needed; not safe for threads.

    Args:
        data: the data folder.
        lock: ``<data>/owner.lock``; taken when the store is first opened unless it is held already.
    """

    def __init__(self, data: Path, lock: FileLock | None = None) -> None:
        self._data = data
        self._folder = data / FOLDER_NAME
        self._lock = lock or FileLock(data / LOCK_NAME)
        self._collection: Collection | None = None

    def open(self, schema: Schema | None, *, create: bool = False) -> Collection:
        """Open the store, or make it if ``create`` and there is none.

        Raises:
            StoreMissing: there is none, and it may not be made.
            FingerprintMismatch: it has another schema.
            StoreDamaged: its files are not what was written.
        """
        if self._collection is None:
            taken = self._take_lock()
            try:
                if create and schema is not None and not self._folder.exists():
                    engine = EdgeEngine.create(self._folder, schema)
                else:
                    engine = EdgeEngine.load(self._folder)
            except BaseException:
                if taken:
                    self._lock.release()
                raise
            self._collection = Collection(engine, exclusive=True)
        check_schema(self._collection.schema, schema)
        return self._collection

    def discard(self) -> None:
        """Let go of a store that failed, so that the next ``open`` reads its files anew."""
        if self._collection is not None:
            collection, self._collection = self._collection, None
            # What fails here is what brought us here; opening again will say whether it lasts.
            with suppress(StoreError):
                collection.close()

    def delete(self, *, keep_damaged: bool = True) -> None:
        """Remove the store; one that is damaged is moved aside to ``store.damaged-<time>`` instead."""
        damaged = False
        try:
            self.open(None)
        except StoreMissing:
            return
        except StoreDamaged:
            damaged = True
        self.discard()
        self._take_lock()
        if damaged and keep_damaged:
            self._folder.rename(self._data / f"{FOLDER_NAME}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        elif self._folder.exists():
            # Renamed first, so that a process killed meanwhile leaves no half of a store.
            trash = self._data / f"{FOLDER_NAME}.old"
            shutil.rmtree(trash, ignore_errors=True)
            self._folder.rename(trash)
            shutil.rmtree(trash)

    def reset(self, schema: Schema, *, keep_damaged: bool = True) -> Collection:
        """Begin anew with an empty store."""
        self.delete(keep_damaged=keep_damaged)
        return self.open(schema, create=True)

    def flush(self) -> None:
        """Flush if anything is open."""
        if self._collection is not None:
            self._collection.flush()

    def close(self) -> None:
        """Flush and let go of the files and the lock."""
        try:
            if self._collection is not None:
                collection, self._collection = self._collection, None
                collection.close()
        finally:
            self._lock.release()

    def _take_lock(self) -> bool:
        """Hold the lock; say whether it was not held before."""
        if self._lock.held:
            return False
        self._data.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        return True
