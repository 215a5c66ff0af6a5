"""The embedded stores of a data folder: opened, made, switched, removed by the one process that may.

Knows the folder's layout. Must not know sockets or clients.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from store.collection import Collection
from store.edge.current import FILE, FIRST, Pointer, leftovers, new_name, read_pointer, write_pointer
from store.edge.engine import EdgeEngine
from store.edge.integrity import peek_schema
from store.errors import InvalidRequest, StoreDamaged, StoreError, StoreMissing
from store.locking import FileLock
from store.types import Schema, check_schema

LOCK_NAME = "owner.lock"


class Embedded:
    """The stores of a data folder, one of them current. Opens each when first needed; not safe for threads.

    Args:
        data: the data folder.
        lock: ``<data>/owner.lock``; taken when a store is first opened unless it is held already.
    """

    def __init__(self, data: Path, lock: FileLock | None = None) -> None:
        self._data = data
        self._lock = lock or FileLock(data / LOCK_NAME)
        self._opened: dict[str, Collection] = {}
        self._read: Pointer | None = None

    @property
    def _pointer(self) -> Pointer:
        """What the stores are; nobody else changes it."""
        if self._read is None:
            self._read = read_pointer(self._data)
        return self._read

    def _point(self, pointer: Pointer) -> None:
        if pointer == Pointer():
            (self._data / FILE).unlink(missing_ok=True)
        else:
            write_pointer(self._data, pointer)
        self._read = pointer

    def open(self, schema: Schema | None, *, create: bool = False) -> Collection:
        """Open the current store, or make it if ``create`` and there is none.

        Raises:
            StoreMissing: there is none, and it may not be made.
            FingerprintMismatch: it has another schema.
            StoreDamaged: its files are not what was written.
        """
        collection = self._open(self._pointer.current, schema if create else None)
        check_schema(collection.schema, schema)
        return collection

    def find(self, schema: Schema) -> Collection:
        """Open the store with this schema: current, staged or retired; raises as ``open`` does."""
        for name in self._pointer.names:
            opened = self._opened.get(name)
            found = opened.schema if opened is not None else peek_schema(self._data / name)
            if found == schema:
                return self._open(name)
        return self.open(schema)

    def _open(self, name: str, create: Schema | None = None) -> Collection:
        if name not in self._opened:
            taken = self._take_lock()
            folder = self._data / name
            try:
                if create is not None and not folder.exists():
                    engine = EdgeEngine.create(folder, create)
                else:
                    engine = EdgeEngine.load(folder)
            except BaseException:
                if taken:
                    self._lock.release()
                raise
            self._opened[name] = Collection(engine, exclusive=True)
        return self._opened[name]

    def stage(self, schema: Schema) -> Collection:
        """Open the store that is to follow the current one, or make it; one with another schema is removed.

        Raises:
            StoreMissing: there is nothing to follow.
            InvalidRequest: the current store has this schema.
        """
        if self.open(None).schema == schema:
            raise InvalidRequest("The store has this schema already", hint="Open it.")
        staged_name = self._pointer.staged
        if staged_name is not None:
            with suppress(StoreDamaged, StoreMissing):  # what was made so far is made again
                staged = self._open(staged_name)
                if staged.schema == schema:
                    return staged
            self._forget(replace(self._pointer, staged=None))
        name = new_name(self._data)
        collection = self._open(name, schema)
        self._point(replace(self._pointer, staged=name))
        return collection

    def switch(self, schema: Schema) -> None:
        """Put the staged store in the place of the current one, which stays, retired, until ``sweep``.

        Harmless when it was done already.

        Raises:
            StoreMissing: no store with this schema is staged.
        """
        if self.open(None).schema == schema:
            return
        pointer = self._pointer
        if pointer.staged is None or self._open(pointer.staged).schema != schema:
            raise StoreMissing("No store of this model is being made", hint="Run `lusifer index` again.")
        self._opened[pointer.staged].flush()
        self._point(Pointer(pointer.staged, None, (*pointer.retired, pointer.current)))

    def sweep(self) -> None:
        """Remove retired stores, and what killed processes left of others."""
        self._take_lock()
        pointer = self._pointer
        if pointer.retired or leftovers(self._data, pointer):
            self._forget(replace(pointer, retired=()))

    def _forget(self, pointer: Pointer) -> None:
        """Remove all stores that the pointer does not name; unnamed first, removed then."""
        self._point(pointer)
        for name in set(self._opened) - set(pointer.names):
            with suppress(StoreError):
                self._opened.pop(name).close()
        for folder in leftovers(self._data, pointer):
            shutil.rmtree(folder)

    def discard(self) -> None:
        """Let go of stores that failed, so that the next ``open`` reads their files anew."""
        opened, self._opened, self._read = self._opened, {}, None
        for collection in opened.values():
            # What fails here is what brought us here; opening again will say whether it lasts.
            with suppress(StoreError):
                collection.close()

    def delete(self, *, keep_damaged: bool = True) -> None:
        """Remove all stores; a current one that is damaged is moved to ``store.damaged-<time>`` instead."""
        damaged: Path | None = None
        try:
            self.open(None)
        except StoreMissing:
            pass
        except StoreDamaged:
            with suppress(StoreDamaged):
                damaged = self._data / self._pointer.current
        self.discard()
        self._take_lock()
        if damaged is not None and damaged.exists() and keep_damaged:
            damaged.rename(self._data / f"store.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        # Renamed first, so that a process killed meanwhile leaves no half of a store.
        if (self._data / FIRST).exists():
            shutil.rmtree(self._data / f"{FIRST}.old", ignore_errors=True)
            (self._data / FIRST).rename(self._data / f"{FIRST}.old")
        self._forget(Pointer())

    def reset(self, schema: Schema, *, keep_damaged: bool = True) -> Collection:
        """Begin anew with an empty store."""
        self.delete(keep_damaged=keep_damaged)
        return self.open(schema, create=True)

    def flush(self) -> None:
        """Flush whatever is open."""
        for collection in self._opened.values():
            collection.flush()

    def close(self) -> None:
        """Flush and let go of the files and the lock."""
        try:
            while self._opened:
                self._opened.popitem()[1].close()
        finally:
            self._lock.release()

    def _take_lock(self) -> bool:
        """Hold the lock; say whether it was not held before."""
        if self._lock.held:
            return False
        self._data.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        return True
