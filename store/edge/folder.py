"""What lies where in a data folder, and what stands there of each collection; readable without the engine.

<data>/current            symbolic link: the collection that is searched
<data>/<name>/store/      a collection, as ``EdgeEngine`` keeps it
<data>/<name>/...         its manifest, and marks: ``building``, ``damaged``
<data>/<name>.damaged-*   one that could not be trusted, kept for good
<data>/<name>.removed     one that is being removed
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.files import write_atomically
from store.errors import StoreDamaged, StoreMissing, StoreOutdated
from store.location import BUILDING, NAME
from store.points import FORMAT
from store.types import CollectionInfo, Schema

CURRENT = "current"
STORE = "store"
STATE = "store.json"
MANIFEST = "manifest.sqlite"
#: In a collection's folder when it did not open.
DAMAGED = "damaged"
_REMOVED = ".removed"
# What the former version kept directly in the data folder.
_FORMER = re.compile(
    r"store(-\d+)?(\.new|\.old)?|stores\.json|manifest(\.next)?\.sqlite(-wal|-shm)?"
    r"|owner\.(lock|starting|key|json|log|log\.1|sock)"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """How a stored point looked: a projection of its vector, blind to rounding, and a hash of its payload."""

    signature: float
    payload: str


@dataclass(slots=True)
class State:
    """The contents of ``store.json``."""

    id: str
    schema: Schema
    engine: str
    points: int = 0
    samples: dict[str, Sample] = field(default_factory=dict)


class StateFile:
    """``store.json`` in a collection's folder, and the mark that something was written since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / STATE
        self._mark = folder / "unflushed"
        self._is_marked = self._mark.exists()

    def read(self) -> State:
        """Read what ought to be there.

        Raises:
            StoreMissing: there is no store.
            StoreDamaged: the file is missing or cannot be read.
        """
        if not self._folder.exists():
            raise StoreMissing(f"Nothing is indexed at {self._folder}", hint="Index some documents first.")
        try:
            content: dict[str, Any] = json.loads(self._path.read_text("utf-8"))
            if content.pop("format") != FORMAT:
                raise damaged(self._folder, "store.json is of another version of this program")
            samples = {id: Sample(**sample) for id, sample in content.pop("samples").items()}
            return State(**content | {"samples": samples, "schema": Schema(**content["schema"])})
        except FileNotFoundError:
            raise damaged(self._folder, "store.json is missing") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(self._folder, f"store.json cannot be read ({type(error).__name__})") from error

    def write(self, state: State) -> None:
        """Record what is flushed, atomically; nothing is unflushed then."""
        write_atomically(self._path, json.dumps({"format": FORMAT, **asdict(state)}, indent=1))
        self._mark.unlink(missing_ok=True)
        self._is_marked = False

    def mark(self) -> None:
        """Say, before the first write after a flush, that the numbers will not be true any more."""
        if not self._is_marked:
            self._mark.touch()
            self._is_marked = True

    @property
    def is_marked(self) -> bool:
        """Whether something was written since the last flush."""
        return self._is_marked


def read_info(folder: Path) -> CollectionInfo | None:
    """Read what the collection kept in a folder is, without opening it; None if there is none.

    Raises:
        StoreDamaged: it cannot be read.
    """
    try:
        status = (folder / STATE).stat()
    except FileNotFoundError:
        status = None
    if status is None and not folder.exists():
        return None
    return _read_info(folder, status and (status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=64)
def _read_info(folder: Path, _version: object) -> CollectionInfo:
    state = StateFile(folder).read()
    return CollectionInfo(folder.parent.name, state.id, state.schema)


def damaged(folder: Path, reason: str) -> StoreDamaged:
    """Make the error for a store whose files cannot be trusted."""
    return StoreDamaged(
        f"The store at {folder} is damaged: {reason}",
        hint="Rebuild the index from the documents: the damaged folder is kept, moved aside.",
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


def current_manifest(data: Path) -> Path | None:
    """Find the folder of the current collection's manifest, in whatever state the collection is.

    Where the link is lost, the newest with a manifest, one that is not being built if there is any.
    """
    name = current_name(data)
    if name is not None:
        return data / name
    found = [folder for folder in collection_folders(data) if (folder / MANIFEST).is_file()]
    return max(
        found,
        key=lambda folder: (not (folder / BUILDING).exists(), (folder / MANIFEST).stat().st_mtime_ns),
        default=None,
    )


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
