"""Train a token table: mean of token vectors, contrastive loss, an Adam that touches only the rows it meets.

Knows tensors. Must not know files, languages or tokenizers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lusifer.train.mini.batches import Batch, Texts
from lusifer.train.mini.teacher import TeacherVectors


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


class _AllPairs(torch.autograd.Function):
    """InfoNCE over all pairs of 2n unit vectors with its gradient by hand.

    Cosines are at most 1, so exp((cos - 1) / t) cannot overflow and one pass makes the weights E. E is
    symmetric, so the gradient of both softmax directions is E @ [Z / sums, Z] rescaled: two matrix products
    and no further pass over the 2n x 2n matrix, which is what the time goes to on a CPU.
    """

    @staticmethod
    def forward(
        context: Any,
        vectors: Tensor,
        same_rows: Tensor,
        same_columns: Tensor,
        temperature: float,
        low: torch.dtype,
    ) -> Tensor:
        count = len(vectors)
        half = count // 2
        rounded = vectors.to(low)
        weights = (rounded / temperature) @ rounded.T
        weights.sub_(1 / temperature).exp_()
        weights.diagonal().zero_()
        weights[same_rows, same_columns] = 0
        partner = torch.arange(count).roll(half)
        positive = (vectors * vectors[partner]).sum(1) / temperature
        # Positives are kept apart in full precision: their gradient is the small difference p - 1.
        weights[torch.arange(count), partner] = 0
        own = (positive - 1 / temperature).exp()
        sums = (weights.sum(1, dtype=torch.float32) + own).clamp_min(1e-30)
        context.save_for_backward(vectors, weights, sums, own, partner)
        context.temperature = temperature
        return (sums.log() + 1 / temperature - positive).mean()

    @staticmethod
    def backward(context: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        vectors, weights, sums, own, partner = context.saved_tensors
        scaled = torch.cat([vectors / sums[:, None], vectors], 1).to(weights.dtype)
        product = (weights @ scaled).float()
        width = vectors.shape[1]
        pull = own / sums - 1
        gradient = product[:, :width] + product[:, width:] / sums[:, None]
        gradient += (pull + pull[partner])[:, None] * vectors[partner]
        return gradient * (outputs[0] / (len(vectors) * context.temperature)), None, None, None, None


def contrastive_loss(
    left: Tensor,
    right: Tensor,
    left_keys: NDArray[np.int64],
    right_keys: NDArray[np.int64],
    *,
    temperature: float,
    low: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Return the in-batch contrastive loss (InfoNCE) over both sides together, a scalar.

    Each text has one positive, its partner, and as negatives every other text of the batch, those of its own
    side too: they teach that a translation is nearer than another text in one's own language, which keeps a
    mixed pool from being ranked by language.

    Args:
        left: unit vectors, shape (n, d); row i belongs to row i of ``right``.
        right: unit vectors, shape (n, d).
        left_keys: identities of the left texts, shape (n,); pairs that share a text are no negatives.
        right_keys: identities of the right texts, shape (n,).
        temperature: cosines are divided by it.
        low: type of the large matrix; its rounding is far below the noise of a batch.
    """
    rows, columns = _same_texts(left_keys, right_keys)
    loss: Tensor = _AllPairs.apply(  # type: ignore[no-untyped-call]
        torch.cat([left, right]), rows, columns, temperature, low
    )
    return loss


def teacher_loss(
    left: Tensor, right: Tensor, rows: NDArray[np.int64], vectors: NDArray[np.float32]
) -> Tensor:
    """Return the mean distance 1 - cos of some rows of both sides from a teacher's vectors, a scalar.

    Both a text and its translation are drawn to the teacher's vector of the English one (multilingual
    knowledge distillation, Reimers & Gurevych 2020).

    Args:
        left: unit vectors, shape (n, d).
        right: unit vectors, shape (n, d).
        rows: which rows the teacher knows, shape (m,).
        vectors: its unit vectors of them, shape (m, d).
    """
    if len(rows) == 0:
        return left.new_zeros(())
    known, target = torch.from_numpy(rows), torch.from_numpy(vectors)
    cosines = (left[known] * target).sum(1) + (right[known] * target).sum(1)
    return (2 - cosines).mean() * (len(rows) / len(left))


def _same_texts(left: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the places (row, column) of the 2n x 2n matrix whose pairs share a text, both sides crossed."""
    count = len(left)
    places: set[tuple[int, int]] = set()
    for keys in (left, right):
        order = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        for group in np.split(order, bounds):
            if len(group) > 1:
                places.update((int(a), int(b)) for a in group for b in group if a != b)
    rows = [a + x for a, _ in places for x in (0, 0, count, count)]
    columns = [b + x for _, b in places for x in (0, count, 0, count)]
    return torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)


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
        loss = contrastive_loss(left, right, batch.left.keys, batch.right.keys, temperature=temperature)
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
