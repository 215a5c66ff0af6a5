"""Train a token table: sums of token vectors, an Adam for the rows it meets, a teacher's vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lusifer.errors import TrainingError
from lusifer.train.losses import all_pairs_loss, teacher_loss
from lusifer.train.mini.batches import Batch, Texts
from lusifer.train.run import Report, silent, written_aside

if TYPE_CHECKING:
    from lusifer.sentence_transformers import SentenceTransformer


_SHARD = 20_000


class RowAdam:
    """Adam (Kingma & Ba 2015) over the rows of a table that a batch uses.

    A dense step would read and write three arrays of the table's size for the few thousand rows that have a
    gradient. Rows that are not met keep their moments unchanged.
    """

    def __init__(
        self, table: Tensor, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.table = table
        self.first = torch.zeros_like(table)
        self.second = torch.zeros_like(table)
        self.steps = 0
        self._betas = betas
        self._eps = eps

    def step(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Update ``rows`` (R,), each once, by their ``gradient`` (R, d)."""
        self.steps += 1
        beta1, beta2 = self._betas
        first = self.first[rows].lerp_(gradient, 1 - beta1)
        second = self.second[rows].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        self.first[rows], self.second[rows] = first, second
        correction = math.sqrt(1 - beta2**self.steps) / (1 - beta1**self.steps)
        update = first.div_(second.sqrt_().add_(self._eps))
        self.table.index_add_(0, rows, update, alpha=-rate * correction)


def encode(rows: Tensor, ids: Tensor, starts: Tensor) -> Tensor:
    """Return unit vectors (n, d) of texts: the sum of their rows, normalised.

    Sum and mean give the same unit vector, so the norm of a row is the weight of its token (paper section
    3.1's pooling with the mask; the weights are learnt with the table).
    """
    return functional.normalize(functional.embedding_bag(ids, rows, starts, mode="sum"), dim=1, eps=1e-6)


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


class TableTrainer:
    """Holds the table and takes steps on batches.

    Args:
        vocabulary: rows.
        dimensions: columns.
        initial_scale: standard deviation of the initial rows.
        seed: of the initial rows.
    """

    def __init__(self, vocabulary: int, dimensions: int, *, initial_scale: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(vocabulary, dimensions, generator=generator) * initial_scale
        self.optimiser = RowAdam(table)

    @property
    def table(self) -> Tensor:
        return self.optimiser.table

    def step(
        self,
        batch: Batch,
        *,
        rate: float,
        temperature: float,
        teacher: TeacherVectors | None = None,
        teacher_weight: float = 1.0,
    ) -> float:
        """Take one step; return the contrastive loss before it.

        Args:
            batch: pairs.
            rate: learning rate.
            temperature: of the contrastive loss.
            teacher: where the left texts are English and it knows them, both sides are pulled to its vectors.
            teacher_weight: of that pull.
        """
        used, inverse = np.unique(np.concatenate([batch.left.ids, batch.right.ids]), return_inverse=True)
        split = len(batch.left.ids)
        rows = torch.from_numpy(used)
        weights = self.table[rows].requires_grad_()
        left = encode(weights, *_bags(inverse[:split], batch.left))
        right = encode(weights, *_bags(inverse[split:], batch.right))
        loss = all_pairs_loss(left, right, batch.left.keys, batch.right.keys, temperature=temperature)
        total = loss
        if teacher is not None:
            total = loss + teacher_weight * teacher_loss(left, right, *teacher.find(batch.left.keys))
        total.backward()  # type: ignore[no-untyped-call]
        if weights.grad is not None:
            self.optimiser.step(rows, weights.grad, rate)
        return float(loss.detach())

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds."""
        return {
            "table": self.optimiser.table,
            "first": self.optimiser.first,
            "second": self.optimiser.second,
            "steps": torch.tensor(self.optimiser.steps),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's state."""
        for name in ("table", "first", "second"):
            getattr(self.optimiser, name).copy_(state[name])
        self.optimiser.steps = int(state["steps"])


def _bags(ids: NDArray[np.int64], texts: Texts) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.ascontiguousarray(ids)), torch.from_numpy(texts.starts)
