"""Which of a data folder's stores is searched, and which is being made to follow it: one small file.

It is replaced as a whole, so a switch from one store to another happens at once or not at all. Knows names of
folders. Must not know what is in them.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from store.errors import StoreDamaged

FILE = "stores.json"
#: Where the store is as long as there was never another; nothing is written then.
FIRST = "store"
_NAME = re.compile(r"store(-\d+)?")


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the stores in a data folder are, by the names of their folders.

    Attributes:
        current: the one that is searched.
        staged: one that is being made, to be searched when it is complete.
        retired: those that were searched before, until they are removed.
    """

    current: str = FIRST
    staged: str | None = None
    retired: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the most important first."""
        return (self.current, *((self.staged,) if self.staged else ()), *self.retired)


def read_pointer(data: Path) -> Pointer:
    """Read what the stores in a data folder are.

    Raises:
        StoreDamaged: the file cannot be read.
    """
    path = data / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        found = Pointer(content["current"], content["staged"], tuple(content["retired"]))
        if not all(_NAME.fullmatch(name) for name in found.names):
            raise ValueError("a name that is none")
    except FileNotFoundError:
        return Pointer()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(
            f"{path} cannot be read ({type(error).__name__})",
            hint="Run `lusifer index --rebuild`: the documents are indexed anew.",
        ) from error
    return found


def write_pointer(data: Path, pointer: Pointer) -> None:
    """Replace the file, at once and for good."""
    path = data / FILE
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(asdict(pointer), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    descriptor = os.open(data, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_name(data: Path) -> str:
    """Choose a name for another store that no folder here ever had at the same time."""
    numbers = [int(name[1]) for path in data.glob("store-*") if (name := re.match(r"store-(\d+)", path.name))]
    return f"store-{max(numbers, default=1) + 1}"


def leftovers(data: Path, pointer: Pointer) -> list[Path]:
    """List the folders of stores, whole or half, that the pointer does not name."""
    found = [path for path in data.glob("store*") if re.fullmatch(r"store(-\d+)?(\.new|\.old)?", path.name)]
    return [path for path in found if path.name not in pointer.names]
