"""What ought to be in an embedded store, kept beside the engine's files and compared when they are opened.

The engine reports most damage but not all of it: some lost or emptied files open as a smaller or blank store
without a word. So ``store.json`` holds the schema, the number of points at the last flush and what a few of
them looked like, and ``journal`` bounds by how much the number may have changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Pending:
    """What may have happened since the last flush.

    Attributes:
        added: at most so many points are new.
        removed: at most so many points are gone.
        changed: sampled points that may look different now.
    """

    added: int
    removed: int
    changed: frozenset[str]


_ENTRY = re.compile(r"(\d+) (\d+) ([0-9a-f,-]*);")


class IntegrityFiles:
    """Reads and writes ``store.json`` and ``journal`` in a store's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "store.json"
        self._journal_path = folder / "journal"
        self._journal: int | None = None

    def exists(self) -> bool:
        return self._path.exists()

    def read(self) -> State:
        """Read what ought to be there.

        Raises:
            StoreMissing: there is no store.
            StoreDamaged: ``store.json`` cannot be read.
        """
        try:
            content: dict[str, Any] = json.loads(self._path.read_text("utf-8"))
            if content["format"] != FORMAT:
                raise StoreDamaged(
                    f"The store at {self.folder} has format {content['format']}; this version reads {FORMAT}",
                    hint=_REBUILD,
                )
            samples = {id: Sample(**sample) for id, sample in content["samples"].items()}
            return State(
                str(content["id"]),
                Schema(**content["schema"]),
                content["engine"],
                int(content["points"]),
                samples,
            )
        except FileNotFoundError:
            raise StoreMissing(
                f"Nothing is indexed at {self.folder}", hint="Index some documents first."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(self.folder, f"store.json cannot be read ({type(error).__name__})") from error

    def write(self, state: State) -> None:
        """Record what is flushed, atomically, and begin an empty journal."""
        # In this order: until the new numbers are in place the old journal belongs to the old ones. If the
        # process dies between the two, the journal only widens the bounds.
        write_atomically(self._path, json.dumps(asdict(state), ensure_ascii=False, indent=1))
        if self._journal is not None:
            os.ftruncate(self._journal, 0)
        elif self._journal_path.exists():
            os.truncate(self._journal_path, 0)

    def note(self, *, added: int = 0, removed: int = 0, changed: Sequence[str] = ()) -> None:
        """Write down, before it is done, what an operation may change: the number of points, and samples."""
        if self._journal is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._journal = os.open(self._journal_path, flags, 0o600)
        os.write(self._journal, f"{added} {removed} {','.join(changed)};\n".encode())

    def pending(self) -> Pending | None:
        """Sum up the journal; None if nothing was done since the last flush."""
        try:
            lines = self._journal_path.read_text("ascii", errors="replace").splitlines()
        except FileNotFoundError:
            return None
        entries = [match for line in lines if (match := _ENTRY.fullmatch(line))]
        if not lines:
            return None
        return Pending(
            sum(int(entry[1]) for entry in entries),
            sum(int(entry[2]) for entry in entries),
            frozenset(id for entry in entries for id in entry[3].split(",")),
        )

    def close(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None


def read_info(folder: Path) -> CollectionInfo | None:
    """Read what the collection kept in a folder is, without opening it; None if there is none.

    Raises:
        StoreDamaged: it cannot be read.
    """
    try:
        state = IntegrityFiles(folder).read()
    except StoreMissing:
        return None
    return CollectionInfo(folder.parent.name, state.id, state.schema)


def verify(folder: Path, state: State, pending: Pending | None, points: int, found: Sequence[Record]) -> None:
    """Compare what was opened with what ought to be there.

    Args:
        folder: the store's folder, for the message.
        state: what was true at the last flush.
        pending: what the journal says was done since.
        points: how many points the engine holds now.
        found: those of the sampled points that the engine still holds, with payload and vector.

    Raises:
        StoreDamaged: points are missing or not what they were.
    """
    since = pending or Pending(0, 0, frozenset())
    if not state.points - since.removed <= points <= state.points + since.added:
        raise damaged(folder, f"it holds {points} chunks where {state.points} were written")
    if not since.removed and len(found) != len(state.samples):
        raise damaged(folder, f"{len(state.samples) - len(found)} chunks are missing that were written")
    for record in found:
        if str(record.id) in since.changed:
            continue
        sample, expected = Sample.of(record), state.samples[str(record.id)]
        if abs(sample.signature - expected.signature) > _TOLERANCE:
            raise damaged(folder, "a vector is not the one that was written")
        if sample.payload != expected.payload:
            raise damaged(folder, "a passage is not the one that was written")


def damaged(folder: Path, reason: str) -> StoreDamaged:
    """Make the error for a store whose files cannot be trusted."""
    return StoreDamaged(f"The store at {folder} is damaged: {reason}", hint=_REBUILD)
