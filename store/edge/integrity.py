"""What ought to be in an embedded store, kept beside the engine's files and compared when they are opened.

The engine reports most damage but not all of it: 18 of 405 damaged files opened as a smaller or blank store
without a word. So ``store.json`` holds the number of points at the last flush and what a few of them looked
like. Both are compared unless something was written since: then the engine's log is replayed, and the numbers
are taken again at the next flush.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.files import write_atomically
from store.engine import Record
from store.errors import StoreDamaged, StoreMissing
from store.points import FORMAT
from store.types import CollectionInfo, Schema, Vector

#: Points whose look is remembered.
SAMPLES = 32
_TOLERANCE = 1e-3
_REBUILD = "Rebuild the index from the documents: the damaged folder is kept, moved aside."


@dataclass(frozen=True, slots=True)
class Sample:
    """How a stored point looked: a projection of its vector, blind to rounding, and a hash of its payload."""

    signature: float
    payload: str

    @classmethod
    def of(cls, record: Record) -> Sample:
        canonical = json.dumps(record.payload, sort_keys=True, ensure_ascii=False)
        vector = np.zeros(0, np.float32) if record.dense is None else record.dense
        return cls(round(_project(vector), 6), hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest())


def _project(vector: Vector) -> float:
    """Reduce a vector to one number that differs for different vectors and is 0 for a blank one only."""
    return float(vector.astype(np.float64) @ _directions(len(vector)))


@lru_cache(maxsize=4)
def _directions(dimensions: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(dimensions)


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
        self._path = folder / "store.json"
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
        state = StateFile(folder).read()
    except StoreMissing:
        return None
    return CollectionInfo(folder.parent.name, state.id, state.schema)


def verify(folder: Path, state: State, points: int, found: Sequence[Record]) -> None:
    """Compare what was opened with what ought to be there.

    Args:
        folder: the store's folder, for the message.
        state: what was true at the last flush, after which nothing was written.
        points: how many points the engine holds now.
        found: those of the sampled points that the engine still holds, with payload and vector.

    Raises:
        StoreDamaged: points are missing or not what they were.
    """
    if points != state.points:
        raise damaged(folder, f"it holds {points} chunks where {state.points} were written")
    if len(found) != len(state.samples):
        raise damaged(folder, f"{len(state.samples) - len(found)} chunks are missing that were written")
    for record in found:
        sample, expected = Sample.of(record), state.samples[str(record.id)]
        if abs(sample.signature - expected.signature) > _TOLERANCE:
            raise damaged(folder, "a vector is not the one that was written")
        if sample.payload != expected.payload:
            raise damaged(folder, "a passage is not the one that was written")


def damaged(folder: Path, reason: str) -> StoreDamaged:
    """Make the error for a store whose files cannot be trusted."""
    return StoreDamaged(f"The store at {folder} is damaged: {reason}", hint=_REBUILD)
