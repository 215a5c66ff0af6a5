"""Whether an embedded store holds what it ought to: compared when it is opened.

The engine reports most damage but not all of it: 18 of 405 damaged files opened as a smaller or blank store
without a word. So ``store.json`` holds the number of points at the last flush and what a few of them looked
like. Both are compared unless something was written since: then the engine's log is replayed, and the numbers
are taken again at the next flush.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.edge.folder import Sample, State, damaged
from store.engine import Record
from store.types import Vector

#: Points whose look is remembered.
SAMPLES = 32
_TOLERANCE = 1e-3


def take_sample(record: Record) -> Sample:
    """Remember how a point looks."""
    canonical = json.dumps(record.payload, sort_keys=True, ensure_ascii=False)
    vector = np.zeros(0, np.float32) if record.dense is None else record.dense
    digest = hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()
    return Sample(round(_project(vector), 6), digest)


def _project(vector: Vector) -> float:
    """Reduce a vector to one number that differs for different vectors and is 0 for a blank one only."""
    return float(vector.astype(np.float64) @ _directions(len(vector)))


@lru_cache(maxsize=4)
def _directions(dimensions: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(dimensions)


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
        sample, expected = take_sample(record), state.samples[str(record.id)]
        if abs(sample.signature - expected.signature) > _TOLERANCE:
            raise damaged(folder, "a vector is not the one that was written")
        if sample.payload != expected.payload:
            raise damaged(folder, "a passage is not the one that was written")
