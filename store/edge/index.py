"""The collections of a data folder, opened in this process: what the daemon serves."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from common.files import FileLock, LockHeld, point_link
from store.collection import Collection
from store.edge.engine import EdgeEngine
from store.edge.folder import (
    CURRENT,
    STORE,
    collection_folders,
    current_manifest,
    current_name,
    finish_removal,
    former_files,
    free_name,
    is_damaged,
    make_folder,
    mark_damaged,
    nothing_there,
    read_collections,
    read_current,
    read_info,
    remove_folder,
    removed_folders,
    taken_names,
)
from store.errors import StoreBusy, StoreDamaged, StoreError, StoreMissing, StoreUnavailable
from store.location import IndexBase, base_name, next_name
from store.types import CollectionInfo, Schema

LOCK = "daemon.lock"


class EdgeIndex(IndexBase):
    """An ``IndexLocation`` in a data folder. Keeps what it opens open until ``close``; not safe for threads.

    Args:
        data: the data folder.
        lock: ``<data>/daemon.lock``; taken when a collection is first opened unless it is held already.
    """

    def __init__(self, data: Path, lock: FileLock | None = None) -> None:
        super().__init__(data)
        self._lock = lock or FileLock(data / LOCK)
        self._opened: dict[str, Collection] = {}

    @property
    def owner(self) -> str:
        return ""

    def current(self) -> CollectionInfo | None:
        return read_current(self._data)

    def current_manifest(self) -> Path | None:
        return current_manifest(self._data)

    def open(self, info: CollectionInfo | None = None) -> Collection:
        """See ``IndexLocation``; the same collection each time.

        Raises:
            StoreDamaged: its files are not what was written; its folder is marked.
        """
        wanted = info or self.current()
        if wanted is None:
            raise nothing_there(self._data)
        folder = self._data / wanted.name
        opened = self._opened.get(wanted.name)
        if opened is None:
            self._take_lock()
            try:
                opened = Collection(EdgeEngine.load(folder / STORE), exclusive=True)
            except StoreDamaged as error:
                mark_damaged(folder, error.message)
                raise
            self._opened[wanted.name] = opened
        if opened.info.id != wanted.id:
            raise StoreMissing(
                f"The collection {wanted.name} at {self._data} was replaced", hint="Open it again."
            )
        return opened

    def manifest_folder(self, info: CollectionInfo) -> Path:
        return self._data / info.name

    def delete(self) -> None:
        self._take_lock()
        self.discard()
        if self._current_name() is not None:
            self._check_link()
            (self._data / CURRENT).unlink()
        for folder in collection_folders(self._data):
            remove_folder(folder)
        self._tidy()
        self._remove_former_version()

    def flush(self) -> None:
        """Flush whatever is open."""
        for collection in self._opened.values():
            collection.flush()

    def discard(self) -> None:
        """Let go of collections that failed, so that the next ``open`` reads their files again."""
        while self._opened:
            # What fails here is what brought us here; opening again will say whether it lasts.
            with suppress(StoreError):
                self._opened.popitem()[1].close()

    def close(self) -> None:
        """Flush and let go of the files and the lock."""
        try:
            while self._opened:
                self._opened.popitem()[1].close()
        finally:
            self._lock.release()

    def _current_name(self) -> str | None:
        return current_name(self._data)

    def _collections(self) -> list[CollectionInfo]:
        return read_collections(self._data)

    def _make(self, schema: Schema, *, another: bool) -> CollectionInfo:  # noqa: ARG002 - nobody else makes any
        self._take_lock()
        name = next_name(base_name(schema), taken_names(self._data))
        make_folder(self._data / name)
        collection = Collection(EdgeEngine.create(self._data / name / STORE, schema), exclusive=True)
        self._opened[name] = collection
        return collection.info

    def _point(self, info: CollectionInfo) -> None:
        self._check_link()
        self._check_former(info)
        self.open(info).flush()
        point_link(self._data / CURRENT, info.name)

    def _remove(self, info: CollectionInfo) -> None:
        self._take_lock()
        self._let_go(info.name)
        folder = self._data / info.name
        if is_damaged(folder):
            self._keep_aside(folder)
        else:
            remove_folder(folder)

    def _tidy(self) -> None:
        self._take_lock()
        for folder in removed_folders(self._data):
            finish_removal(folder)
        for folder in collection_folders(self._data):
            if folder.name == self._current_name():
                continue
            if is_damaged(folder):
                self._let_go(folder.name)
                self._keep_aside(folder)
            elif (
                folder.name not in self._opened and read_info(folder / STORE) is None
            ):  # killed while it was made
                remove_folder(folder)

    def _remove_former_version(self) -> None:
        for path in former_files(self._data):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _let_go(self, name: str) -> None:
        if name in self._opened:
            with suppress(StoreError):
                self._opened.pop(name).close()

    def _keep_aside(self, folder: Path) -> None:
        folder.rename(free_name(folder, f".damaged-{time.strftime('%Y%m%d-%H%M%S')}"))

    def _check_former(self, following: CollectionInfo) -> None:
        """Open the current collection, which is to be left to ``sweep``: it is marked if it is damaged."""
        name = self._current_name()
        if name is not None and name != following.name:
            try:
                former = self.current()
                if former is not None:
                    self.open(former)
            except OSError as error:
                mark_damaged(self._data / name, str(error.strerror))
            except StoreError as error:
                mark_damaged(self._data / name, error.message)

    def _check_link(self) -> None:
        """Refuse to put a link where somebody put something else."""
        link = self._data / CURRENT
        if link.exists() and not link.is_symlink():
            raise StoreUnavailable(
                f"{link} is no link to a collection: was the data folder copied with its links followed?",
                hint="Move it away, or copy the data folder again and keep its links.",
            )

    def _take_lock(self) -> None:
        """Hold the lock: nothing may be opened, made or removed without it."""
        if self._lock.held:
            return
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._lock.acquire()
        except LockHeld as error:
            raise StoreBusy(
                f"Another program is using the store at {self._data}",
                hint="Wait for it to end, or give it a moment and try again.",
            ) from error
