"""What lies where in a data folder, readable without the engine.

<data>/current            symbolic link: the collection that is searched
<data>/<name>/store/      a collection, as ``EdgeEngine`` keeps it
<data>/<name>/...         its manifest, and marks: ``building``, ``damaged``
<data>/<name>.damaged-*   one that could not be trusted, kept for good
<data>/<name>.removed     one that is being removed
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from store.edge.integrity import read_info
from store.errors import StoreDamaged, StoreMissing, StoreOutdated
from store.location import NAME
from store.types import CollectionInfo

CURRENT = "current"
STORE = "store"
#: In a collection's folder when it did not open.
DAMAGED = "damaged"
_REMOVED = ".removed"
# What the former version kept directly in the data folder.
_FORMER = re.compile(
    r"store(-\d+)?(\.new|\.old)?|stores\.json|manifest(\.next)?\.sqlite(-wal|-shm)?"
    r"|owner\.(lock|starting|key|json|log|log\.1|sock)"
)


def current_name(data: Path) -> str | None:
    """Name the current collection, in whatever state it is."""
    link = data / CURRENT
    name = link.readlink().name if link.is_symlink() else None
    return name if name is not None and re.fullmatch(NAME, name) and (data / name).is_dir() else None


def read_current(data: Path) -> CollectionInfo | None:
    """Read what the current collection is, without opening it; None if there is none.

    Raises:
        StoreDamaged: it cannot be read.
    """
    name = current_name(data)
    return None if name is None else read_info(data / name / STORE)


def nothing_there(data: Path) -> StoreMissing:
    """Make the error for a data folder without a current collection."""
    if any(data.glob("store*/store.json")):
        return StoreOutdated(
            f"The index at {data} was made by a former version of this program",
            hint="Index the documents again.",
        )
    return StoreMissing(f"Nothing is indexed at {data}", hint="Index some documents first.")


def collection_folders(data: Path) -> list[Path]:
    """List the folders of collections, whole or not."""
    return sorted(path for path in data.glob("*") if re.fullmatch(NAME, path.name) and path.is_dir())


def read_collections(data: Path) -> list[CollectionInfo]:
    """List the collections that can be read, current or not."""
    found = []
    for folder in collection_folders(data):
        with suppress(StoreDamaged):
            found.append(read_info(folder / STORE))
    return [info for info in found if info is not None]


def removed_folders(data: Path) -> list[Path]:
    """List the folders whose removal was begun."""
    return [path for path in data.glob(f"*{_REMOVED}") if re.fullmatch(NAME, path.stem)]


def removed_name(folder: Path) -> Path:
    """Return where a folder goes when its removal begins."""
    return folder.with_name(folder.name + _REMOVED)


def is_damaged(folder: Path) -> bool:
    """Whether a collection's folder holds a store that cannot be trusted."""
    try:
        read_info(folder / STORE)
    except StoreDamaged:
        return True
    return (folder / DAMAGED).exists()


def former_files(data: Path) -> list[Path]:
    """List what a former version of this program left."""
    found = [path for path in data.glob("*") if _FORMER.fullmatch(path.name)]
    return [path for path in found if not path.is_dir() or _is_store(path)]


def _is_store(folder: Path) -> bool:
    return (folder / "store.json").exists() or (folder / "shard").exists()


def has_collections(data: Path) -> bool:
    """Whether there is any collection."""
    return bool(collection_folders(data))


def has_leftovers(data: Path) -> bool:
    """Whether there is anything that a sweep may remove."""
    others = [path for path in collection_folders(data) if path.name != current_name(data)]
    return bool(others or removed_folders(data) or former_files(data))
