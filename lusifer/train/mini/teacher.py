"""Vectors of an English teacher for the English sides of the training pairs, computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lusifer.errors import TrainingError
from lusifer.train.run import Report, silent, written_aside

if TYPE_CHECKING:
    from lusifer.sentence_transformers import SentenceTransformer

_SHARD = 20_000


@dataclass(frozen=True, slots=True)
class TeacherVectors:
    """Unit vectors of texts, found by the hash of the normalised text.

    Attributes:
        keys: sorted, shape (texts,).
        vectors: float16, shape (texts, d).
    """

    keys: NDArray[np.int64]
    vectors: NDArray[np.float16]

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    def find(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return which of the given texts the teacher knows (rows) and their vectors (rows, d)."""
        if len(self.keys) == 0:
            return np.empty(0, np.int64), np.empty((0, self.width), np.float32)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        rows = np.flatnonzero(self.keys[places] == keys)
        return rows, self.vectors[places[rows]].astype(np.float32)


def teach(model: Path, texts: dict[int, str], cache: Path, *, report: Report = silent) -> TeacherVectors:
    """Embed texts with the teacher, shard by shard; shards already in ``cache`` are kept.

    Args:
        model: a sentence-transformers folder.
        texts: by the hash of each.
        cache: folder of the shards.
        report: called with one line for each shard.

    Raises:
        DataError: the folder holds no model that can be read.
        TrainingError: there is no text.
    """
    cache.mkdir(parents=True, exist_ok=True)
    keys = list(texts)
    teacher = None
    for number, start in enumerate(range(0, len(keys), _SHARD)):
        path = cache / f"{number:05}.npz"
        if path.is_file():
            continue
        teacher = teacher or _open(model)
        part = keys[start : start + _SHARD]
        vectors = teacher.embed_documents([texts[key] for key in part]).astype(np.float16)
        with written_aside(path) as draft, draft.open("wb") as file:
            np.savez(file, keys=np.array(part, np.int64), vectors=vectors)
        report(f"teacher: {min(start + _SHARD, len(keys)):,} of {len(keys):,} texts")
    return load_vectors(cache)


def _open(folder: Path) -> SentenceTransformer:
    from lusifer.sentence_transformers import SentenceTransformer

    return SentenceTransformer(folder, dtype=torch.bfloat16, longest=128, batch=256)


def load_vectors(cache: Path) -> TeacherVectors:
    """Read every shard of a cache folder."""
    shards = [np.load(path) for path in sorted(cache.glob("*.npz"))]
    if not shards:
        raise TrainingError(f"no teacher vectors in {cache}", hint="compute them first")
    keys = np.concatenate([shard["keys"] for shard in shards])
    vectors = np.concatenate([shard["vectors"] for shard in shards])
    order = np.argsort(keys)
    return TeacherVectors(keys[order], vectors[order])
