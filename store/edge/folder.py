"""What lies where in a data folder, and what stands there of each collection; readable without the engine.

<data>/current            symbolic link: the collection that is searched
<data>/<name>/store/      a collection, as ``EdgeEngine`` keeps it
<data>/<name>/...         its manifest, and marks: ``collection`` from the start, ``building``, ``damaged``
<data>/<name>.damaged-*   one that could not be trusted, kept for good
<data>/<name>.removed*    one that is being removed

Somebody else's files may have such names: only what shows that this program made it is removed or renamed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.files import write_atomically
from store.errors import StoreDamaged, StoreMissing, StoreOutdated, StoreUnavailable
from store.location import BUILDING, NAME, base_name
from store.points import FORMAT
from store.types import CollectionInfo, Schema

CURRENT = "current"
STORE = "store"
STATE = "store.json"
MANIFEST = "manifest.sqlite"
#: In a collection's folder when it did not open.
DAMAGED = "damaged"
#: In a collection's folder before anything else is, and what stands in it.
MARK = "collection"
_MARK_CONTENT = "A collection of lusifer-search. This program makes, replaces and removes this folder.\n"
#: In a folder whose removal was begun; it is the last to go.
_REMOVING = "removing"
# What this program makes in a collection's folder.
_OWN = re.compile(
    rf"{STORE}(\.new)?|{MARK}|{BUILDING}|{DAMAGED}|{_REMOVING}|manifest\.sqlite(-wal|-shm|-journal)?"
)
# What the former version kept directly in the data folder.
_FORMER_FORMAT = 1
_FORMER_STORE = re.compile(r"store(-\d+)?(\.new|\.old)?")
_FORMER_POINTER = "stores.json"
_FORMER_FILE = re.compile(
    r"manifest(\.next)?\.sqlite(-wal|-shm)?|owner\.(lock|starting|key|json|log|log\.1|sock)"
)
# What a file of JSON raises that is not what it ought to be.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


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
        except PermissionError as error:
            raise unreadable(self._path, error) from error
        except (*_UNREADABLE, OSError) as error:
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
        StoreDamaged: it is not what was written.
        StoreUnavailable: this user may not read it.
    """
    try:
        status = (folder / STATE).stat()
    except (FileNotFoundError, NotADirectoryError):
        status = None
    except OSError as error:
        raise unreadable(folder, error) from error
    if status is None and not folder.exists():
        return None
    return _read_info(folder, status and (status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=64)
def _read_info(folder: Path, _version: object) -> CollectionInfo:
    state = StateFile(folder).read()
    return CollectionInfo(folder.parent.name, state.id, state.schema)


def unreadable(path: Path, error: OSError) -> StoreUnavailable:
    """Make the error for what the system does not let us read."""
    return StoreUnavailable(
        f"{path} cannot be read ({error.strerror})",
        hint="Give this user the right to read it, or choose another data folder.",
    )


def damaged(folder: Path, reason: str) -> StoreDamaged:
    """Make the error for a store whose files cannot be trusted."""
    return StoreDamaged(
        f"The store at {folder} is damaged: {reason}",
        hint="Rebuild the index from the documents: the damaged folder is kept, moved aside.",
    )


def current_name(data: Path) -> str | None:
    """Name the current collection, in whatever state it is."""
    link = data / CURRENT
    try:
        if link.is_symlink():
            name = str(link.readlink())
            return name if re.fullmatch(NAME, name) and (data / name).is_dir() else None
        return _copied_name(data) if link.is_dir() else None
    except OSError as error:
        raise unreadable(data, error) from error


def _copied_name(data: Path) -> str | None:
    """Name the collection that *current* is a copy of: a data folder was copied with its links followed."""
    with suppress(StoreDamaged):
        copied = read_info(data / CURRENT / STORE)
        found = [info.name for info in read_collections(data) if copied and info.id == copied.id]
        return found[0] if found else None
    return None


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
    if _former_stores(data):
        return StoreOutdated(
            f"The index at {data} was made by a former version of this program",
            hint="Index the documents again.",
        )
    return StoreMissing(f"Nothing is indexed at {data}", hint="Index some documents first.")


def collection_folders(data: Path) -> list[Path]:
    """List the folders that this program made for collections, whole or not."""
    return [path for path in _named(data, NAME) if _is_own(path)]


def taken_names(data: Path) -> list[str]:
    """List the names that no new collection may have: of collections, and of anybody's files and folders."""
    return [path.name for path in _named(data, NAME) if not _is_free(path)]


def _named(data: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in data.iterdir() if re.fullmatch(pattern, path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(data, error) from error


def _is_free(path: Path) -> bool:
    """Whether a collection may be made here: in an empty folder, or one of ours without a store."""
    if path.is_symlink() or not path.is_dir():
        return False
    return not any(path.iterdir()) or (_is_own(path) and not (path / STORE).exists())


def _is_own(folder: Path) -> bool:
    """Whether this program made a folder: its store says so, or a mark where there is nothing of others."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            return False
        with suppress(StoreDamaged):
            info = read_info(folder / STORE)
            if info is not None:
                return re.fullmatch(rf"{base_name(info.schema)}(-\d+)?", folder.name) is not None
        return _is_marked_own(folder) and _has_only_own(folder)
    except (OSError, StoreUnavailable):
        return False


def _is_marked_own(folder: Path) -> bool:
    mark = folder / MARK
    if mark.is_file() and not mark.is_symlink():
        return mark.read_bytes()[:1000] == _MARK_CONTENT.encode()
    return any((folder / name).is_file() for name in (BUILDING, DAMAGED))


def _has_only_own(folder: Path) -> bool:
    return all(_OWN.fullmatch(path.name) and not path.is_symlink() for path in folder.iterdir())


def make_folder(folder: Path) -> None:
    """Make the folder of a collection and mark it, before anything else is put there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(folder / MARK, _MARK_CONTENT)


def read_collections(data: Path) -> list[CollectionInfo]:
    """List the collections that can be read, current or not."""
    found = []
    for folder in collection_folders(data):
        with suppress(StoreDamaged, StoreUnavailable):
            found.append(read_info(folder / STORE))
    return [info for info in found if info is not None]


def removed_folders(data: Path) -> list[Path]:
    """List the folders whose removal was begun."""
    found = [path for path in _named(data, rf"{NAME}\.removed(-\d+)?") if not path.is_symlink()]
    return [path for path in found if (path / _REMOVING).is_file()]


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours, renamed first: being killed meanwhile leaves no half of a collection."""
    (folder / _REMOVING).touch()
    aside = free_name(folder, ".removed")
    folder.rename(aside)
    finish_removal(aside)


def finish_removal(folder: Path) -> None:
    """Remove a folder whose removal was begun, what tells so last."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _REMOVING:
            path.unlink()
    (folder / _REMOVING).unlink()
    folder.rmdir()


def free_name(folder: Path, suffix: str) -> Path:
    """Return a name for a folder that is to be renamed which nothing has."""
    names = (f"{folder}{suffix}{number}" for number in ("", *(f"-{n}" for n in range(2, 10_000))))
    return next(path for path in map(Path, names) if not os.path.lexists(path))


def is_damaged(folder: Path) -> bool:
    """Whether a collection's folder holds a store that cannot be trusted."""
    try:
        read_info(folder / STORE)
    except StoreDamaged:
        return True
    return (folder / DAMAGED).exists()


def mark_damaged(folder: Path, reason: str) -> None:
    """Note in a collection's folder that it cannot be trusted, so that it is kept when it is replaced."""
    with suppress(OSError):  # nothing depends on it but that
        (folder / DAMAGED).write_text(f"{reason}\n", "utf-8")


def former_files(data: Path) -> list[Path]:
    """List what a former version of this program left, the stores that tell so last."""
    stores = _former_stores(data)
    pointers = [path for path in (data / _FORMER_POINTER,) if _is_former_pointer(path)]
    if not stores and not pointers:
        return []
    files = [path for path in _named(data, _FORMER_FILE.pattern) if not path.is_symlink()]
    return [*(path for path in files if not path.is_dir()), *pointers, *stores]


def _former_stores(data: Path) -> list[Path]:
    found = [path for path in _named(data, _FORMER_STORE.pattern) if not path.is_symlink()]
    return [path for path in found if _is_former_store(path)]


def _is_former_store(folder: Path) -> bool:
    try:
        content: Any = json.loads((folder / STATE).read_text("utf-8"))
        Schema(**content["schema"])
        return bool(content["format"] == _FORMER_FORMAT and {"engine", "points", "samples"} <= set(content))
    except (*_UNREADABLE, OSError):
        return False


def _is_former_pointer(path: Path) -> bool:
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        names = [content["current"], *content["retired"]]
        return all(_FORMER_STORE.fullmatch(name) for name in names) and "staged" in content
    except (*_UNREADABLE, OSError):
        return False


def has_collections(data: Path) -> bool:
    """Whether there is any collection."""
    return bool(collection_folders(data))


def has_leftovers(data: Path) -> bool:
    """Whether there is anything that a sweep may remove."""
    others = [path for path in collection_folders(data) if path.name != current_name(data)]
    return bool(others or removed_folders(data) or former_files(data))
