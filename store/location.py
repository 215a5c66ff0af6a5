"""Where collections are kept, all that callers need: in a data folder, or on a Qdrant server.

A collection is a folder or a Qdrant collection with a name made of its fingerprint; one *current* (a symbolic
link, or an alias) names the one that is searched, and is renamed at once. A change of model builds another
collection beside the current one and then switches. ``store.open_location`` gives the location of an index.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from store.errors import StoreDamaged, StoreMissing
from store.types import CollectionInfo, Schema, Store

__all__ = [
    "BUILDING",
    "NAME",
    "CollectionInfo",
    "IndexBase",
    "IndexLocation",
    "base_name",
    "next_name",
    "owner_id",
]

#: Names of collections, as ``IndexBase`` makes them: a fingerprint, and a number if there were several.
NAME = r"[0-9a-f]{8,64}(-\d+)?"
#: File in a manifest's folder as long as its collection is being built.
BUILDING = "building"


class IndexLocation(Protocol):
    """Where the collections of one index are. Methods raise ``StoreError``, nothing of an engine's."""

    @property
    def owner(self) -> str:
        """Id of this data folder, in what it stores and for ``Filter.owner``; empty if it shares with nobody.

        Document ids have to differ between owners.
        """

    def current(self) -> CollectionInfo | None:
        """Say what is searched now; None if nothing is indexed. Cheap: asked with every search.

        What a former version made is not searched: None here, and ``open`` says why.
        """

    def remembered(self) -> CollectionInfo | None:
        """Say what was current when this data folder was last told, without asking a server."""

    def current_manifest(self) -> Path | None:
        """Return the folder of the current collection's manifest, also where the collection cannot be read.

        Where it is lost which is current, the newest that has a manifest; None if none has.
        """

    def open(self, info: CollectionInfo | None = None) -> Store:
        """Open a collection, the current one by default.

        Raises:
            StoreMissing: there is none; ``StoreOutdated`` if a former version made what is there.
        """

    def build(self, schema: Schema, *, fresh: bool = False) -> CollectionInfo:
        """Find or make the collection of a schema that is to be filled; it is not searched before ``switch``.

        The current one if it has this schema; else one that was left unfinished, or another.

        Args:
            schema: what its vectors are made with.
            fresh: make an empty one beside the current one even if that has this schema (a rebuild), or is
                damaged. What an interrupted rebuild left is gone on with.

        Raises:
            StoreShared: other data folders keep documents in the current one, which is to be replaced.
        """

    def switch(self, info: CollectionInfo) -> None:
        """Search this collection from now on, at once or not at all; harmless when repeated.

        The former one is kept, for whoever still reads it and for a rollback, until ``sweep``. A damaged one
        is moved aside to ``<name>.damaged-<time>`` and kept for good.
        """

    def sweep(self) -> None:
        """Remove collections that are neither current, nor being built, nor another owner's.

        Also what a former version left, once there is a current collection.
        """

    def delete(self) -> None:
        """Remove the index with all its collections; harmless if there is none."""

    def unfinished(self) -> list[CollectionInfo]:
        """List the collections that ``build`` made and ``switch`` has not named yet. Cheap."""

    def manifest_folder(self, info: CollectionInfo) -> Path:
        """Return the local folder that holds the manifest of a collection; it goes when that goes."""


def owner_id(data: Path) -> str:
    """Return the id of a data folder, made at random when first asked for."""
    path = data / "owner-id"
    with suppress(FileNotFoundError):
        return path.read_text("ascii").strip()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    draft.write_text(uuid.uuid4().hex, "ascii")
    try:
        with suppress(FileExistsError):  # another program was quicker: its id it is
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_text("ascii").strip()


class IndexBase(ABC):
    """What locations have in common: which collection is built, switched to and removed.

    A file ``building`` in the manifest's folder marks what is being built, so that it outlasts interruptions:

    * ``build``: makes the collection, then marks it. Killed before the mark, the collection is found by its
      name and marked by the next ``build``; another schema's ``build`` unmarks it, and ``sweep`` removes it.
    * ``switch``: unmarks the current one, moves *current*, unmarks the new one. Killed before the move, all
      is as it was; killed after, the mark of the current one has no effect and goes with the next ``switch``.
    * ``sweep``: removes what is neither current nor marked.
    """

    def __init__(self, data: Path) -> None:
        self._data = data

    @abstractmethod
    def current(self) -> CollectionInfo | None:
        """See ``IndexLocation``; raises ``StoreDamaged`` if it cannot be told what it is."""

    def remembered(self) -> CollectionInfo | None:
        """See ``IndexLocation``; a local index is always there to be asked."""
        return self.current()

    def current_manifest(self) -> Path | None:
        """See ``IndexLocation``."""
        info = self.remembered()
        return None if info is None else self.manifest_folder(info)

    @abstractmethod
    def open(self, info: CollectionInfo | None = None) -> Store:
        """See ``IndexLocation``."""

    @abstractmethod
    def manifest_folder(self, info: CollectionInfo) -> Path:
        """See ``IndexLocation``."""

    @abstractmethod
    def _current_name(self) -> str | None:
        """Name the current collection, in whatever state it is."""

    @abstractmethod
    def _collections(self) -> list[CollectionInfo]:
        """List the collections of this index that can be read, current or not."""

    @abstractmethod
    def _make(self, schema: Schema, *, another: bool) -> CollectionInfo:
        """Make the first collection of a schema, or join whoever is making it; with ``another`` one more."""

    @abstractmethod
    def _point(self, info: CollectionInfo) -> None:
        """Make a collection the current one, at once."""

    @abstractmethod
    def _remove(self, info: CollectionInfo) -> None:
        """Remove a collection and its manifest, so that being killed leaves all of it or none."""

    def _check_replaceable(self, info: CollectionInfo) -> None:  # noqa: B027 - any, if a data folder is alone
        """Refuse to put another collection in the place of one that others use."""

    def _is_removable(self, info: CollectionInfo) -> bool:  # noqa: ARG002 - any, if a data folder is alone
        """Whether nobody else may be using a collection that is not current."""
        return True

    def _tidy(self) -> None:  # noqa: B027 - a server has nothing else
        """Remove what is no whole collection."""

    @abstractmethod
    def _remove_former_version(self) -> None:
        """Remove what a former version of this program made."""

    def build(self, schema: Schema, *, fresh: bool = False) -> CollectionInfo:
        """See ``IndexLocation``."""
        try:
            current = self.current()
        except StoreDamaged:
            if not fresh:
                raise
            current = None
        if current is not None:
            if current.schema == schema and not fresh:
                return current
            self._check_replaceable(current)
        others = self._others()
        same = [info for info in others if info.schema == schema]
        found = [info for info in same if self._is_marked(info)] or ([] if fresh else same)
        info = self._usable(found) or self._make(schema, another=fresh or bool(found))
        for other in others:
            self._unmark(other)
        folder = self.manifest_folder(info)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / BUILDING).touch()
        return info

    def _usable(self, found: list[CollectionInfo]) -> CollectionInfo | None:
        """Choose the newest that opens; remove those that do not."""
        for info in sorted(found, key=lambda info: _number(info.name), reverse=True):
            try:
                self.open(info)
            except StoreDamaged:
                self._remove(info)
            except StoreMissing:
                continue
            else:
                return info
        return None

    def switch(self, info: CollectionInfo) -> None:
        """See ``IndexLocation``."""
        former: CollectionInfo | None = None
        with suppress(StoreDamaged):
            former = self.current()
        if former is None or former.id != info.id:
            if former is not None:
                self._check_replaceable(former)
                self._unmark(former)
            self._point(info)
        self._unmark(info)
        self._tidy()

    def sweep(self) -> None:
        """See ``IndexLocation``."""
        try:
            current = self.current()
        except StoreDamaged:
            return
        if current is None:
            return
        for info in self._others():
            if not self._is_marked(info) and self._is_removable(info):
                self._remove(info)
        self._tidy()
        self._remove_former_version()

    def unfinished(self) -> list[CollectionInfo]:
        """See ``IndexLocation``."""
        return [info for info in self._others() if self._is_marked(info)]

    def _others(self) -> list[CollectionInfo]:
        name = self._current_name()
        return [info for info in self._collections() if info.name != name]

    def _is_marked(self, info: CollectionInfo) -> bool:
        return (self.manifest_folder(info) / BUILDING).exists()

    def _unmark(self, info: CollectionInfo) -> None:
        (self.manifest_folder(info) / BUILDING).unlink(missing_ok=True)


def base_name(schema: Schema) -> str:
    """Return the name of the first collection of a schema."""
    if re.fullmatch("[0-9a-f]{8,64}", schema.fingerprint):
        return schema.fingerprint
    return hashlib.blake2b(schema.fingerprint.encode(), digest_size=8).hexdigest()


def next_name(base: str, taken: list[str]) -> str:
    """Return the first of ``base``, ``base-2``, ``base-3`` ... that is beyond all that are taken."""
    numbers = [_number(name) for name in taken if re.fullmatch(rf"{re.escape(base)}(-\d+)?", name)]
    return base if not numbers else f"{base}-{max(numbers) + 1}"


def _number(name: str) -> int:
    found = re.search(r"[0-9a-f]-(\d+)$", name)
    return int(found[1]) if found else 1
