"""The losses of all trainers, as functions of tensors.

Alignment: cross-entropy of a language model's next tokens. Representation finetuning: a contrastive loss
over questions, passages that answer them and passages that do not (arXiv 2501.00874, section 3). The token
table: a contrastive loss over all pairs of a batch, and the distance from a teacher's vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

#: Label of a target that is not learnt.
IGNORED = -100
#: Mining margin of the authors' configurations (MultiSimilarityMiner).
MINING_MARGIN = 0.25


def next_token_loss(states: Tensor, labels: Tensor, output: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of the next tokens and how many there were.

    The head runs only where there is something to predict, which for long inputs saves most of the memory.

    Args:
        states: ``(batch, length, dimensions)``, after the final norm.
        labels: ``(batch, length)``; position ``i`` predicts the label at ``i + 1``; ``IGNORED`` is skipped.
        output: states to logits over the vocabulary.

    Returns:
        Two scalars: the sum in nats, float32, and the count, int64.
    """
    targets = labels[:, 1:]
    wanted = targets != IGNORED
    logits = output(states[:, :-1][wanted]).float()
    return functional.cross_entropy(logits, targets[wanted], reduction="sum"), wanted.sum()


@dataclass(frozen=True, slots=True)
class ContrastiveLoss:
    """The authors' NTXentLoss over groups of one question, its positives and its negatives.

    For every ordered pair of an anchor and another text of its label,
    ``-log(e^(s+/t) / (e^(s+/t) + sum over negatives of e^(s-/t)))``, averaged over the pairs; other positives
    are not in the denominator. Anchors are the questions *and* the positives.

    Attributes:
        similarity: ``l2``, minus the Euclidean distance of the unit vectors (the authors'), or ``cosine``.
        temperature: the ``t`` above; 0.05 in the authors' code, not stated in the paper.
        mining: keep only hard pairs when negatives are shared, as MultiSimilarityMiner does: positives less
            similar than the anchor's best negative plus a margin, negatives more similar than its worst
            positive minus that margin (in cosine).
    """

    similarity: Literal["l2", "cosine"] = "l2"
    temperature: float = 0.05
    mining: bool = False

    def own(self, queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Return the loss where each example has no negatives but its own.

        Args:
            queries: ``(batch, dimensions)``; need not be normalised, nor the others.
            positives: ``(batch, P, dimensions)``.
            negatives: ``(batch, N, dimensions)``.
        """
        anchors = torch.cat([queries[:, None], positives], dim=1)
        others = torch.cat([anchors, negatives], dim=1)
        count, wide = anchors.shape[1], others.shape[1]
        scores = self._scores(anchors, others)
        place = torch.arange(wide, device=scores.device)
        positive = (place < count) & (place != place[:count, None])
        negative = (place >= count).expand_as(positive)
        batch = len(queries)
        return _mean_over_pairs(scores, positive.expand(batch, -1, -1), negative.expand(batch, -1, -1))

    def shared(self, queries: Tensor, positives: Tensor, negatives: Tensor, labels: Tensor) -> Tensor:
        """Return the loss where every text of another label is a negative: the cross-batch form.

        Args:
            queries: ``(batch, dimensions)``.
            positives: ``(batch, P, dimensions)``.
            negatives: ``(batch, N, dimensions)``; each has a label of its own.
            labels: ``(batch,)``, int64; examples of the same label are positives of each other.
        """
        width = queries.shape[1]
        anchors = torch.cat([queries, positives.reshape(-1, width)])
        others = torch.cat([anchors, negatives.reshape(-1, width)])
        owner = torch.cat([labels, labels.repeat_interleave(positives.shape[1])])
        count = len(anchors)
        place = torch.arange(len(others), device=others.device)
        positive = torch.zeros(count, len(others), dtype=torch.bool, device=others.device)
        positive[:, :count] = owner[:, None] == owner
        negative = ~positive
        positive &= place != place[:count, None]
        if self.mining:
            positive, negative = _mine(anchors.detach(), others.detach(), positive, negative)
        return _mean_over_pairs(self._scores(anchors, others), positive, negative)

    def _scores(self, anchors: Tensor, others: Tensor) -> Tensor:
        anchors = functional.normalize(anchors.float(), dim=-1)
        others = functional.normalize(others.float(), dim=-1)
        if self.similarity == "cosine":
            return anchors @ others.mT / self.temperature
        # Not by way of a matrix product, which is too coarse for small distances at this temperature.
        return -torch.cdist(anchors, others, compute_mode="donot_use_mm_for_euclid_dist") / self.temperature


def _mean_over_pairs(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Average ``-log(e^p / (e^p + sum e^n))`` over all positive pairs; 0 where there are none."""
    if not positive.any():
        return scores.sum() * 0.0
    against = torch.logsumexp(scores.masked_fill(~negative, -torch.inf), dim=-1, keepdim=True)
    return functional.softplus((against - scores)[positive]).mean()


def _mine(anchors: Tensor, others: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    cosines = functional.normalize(anchors.float(), dim=-1) @ functional.normalize(others.float(), dim=-1).mT
    nearest = cosines.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
    farthest = cosines.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    return positive & (cosines - MINING_MARGIN < nearest), negative & (cosines + MINING_MARGIN > farthest)


def all_pairs_loss(
    left: Tensor,
    right: Tensor,
    left_keys: NDArray[np.int64],
    right_keys: NDArray[np.int64],
    *,
    temperature: float,
    low: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Return the contrastive loss (InfoNCE) over all pairs of a batch, both sides together, a scalar.

    What ``ContrastiveLoss.shared`` is by cosine where no two texts are equal, made for large batches of small
    vectors on a CPU: one matrix in low precision, the gradient without a second pass over it.

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


class _AllPairs(torch.autograd.Function):
    """InfoNCE over all pairs of 2n unit vectors, with its gradient written by hand.

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
