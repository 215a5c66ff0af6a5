"""The losses of both training stages, as functions of tensors.

Alignment: cross-entropy of a language model's next tokens. Representation finetuning: a contrastive loss over
questions, passages that answer them and passages that do not (arXiv 2501.00874, section 3). Must not know
models, texts or processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Similarity = Literal["l2", "cosine"]

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

    similarity: Similarity = "l2"
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
