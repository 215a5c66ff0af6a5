"""Choose how words weigh against vectors, so that the right passages come first in every kind of pool.

A pool of one language wants words to weigh much; in a pool of many, passages in the question's own language
share words with any question and would crowd out better ones in other languages. So words weigh by whether
both languages are the same, and the own language is lowered by what chance alone gives it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lusifer.evaluate.retrieval import ndcg_at, recall_at
from search.calibration.pools import Pool
from search.ranking import FusionWeights

_OWN = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)
_OTHER = (0.2, 0.3, 0.5, 0.6, 0.8, 1.0, 1.2, 1.4)
_CHANCE_SHARES = (0.5, 0.75, 1.0)
_OFFSETS = tuple(round(-0.1 + 0.025 * step, 3) for step in range(16))
#: Of the passages that answer nothing, the fifth best by words: what chance gives a language.
_CHANCE_RANK = 5
#: The share of own-language passages in a mixed pool may be this many times their share among the right ones,
#: or this many times smaller.
MOST_BIAS = 1.25
#: Gains this near to the best are taken for equal; then words of other languages weigh as little as they can.
_EQUAL = 0.003
_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Quality:
    """How well pools are ranked: means over pools, each counting the same."""

    recall: float
    ndcg: float


def fused(pool: Pool, weights: FusionWeights) -> NDArray[np.float32]:
    """Return the scores by which ``store.fusion.fuse`` orders candidates, shape (questions, candidates)."""
    own = pool.own
    weighed = np.where(own, np.float32(weights.own), np.float32(weights.other)) * pool.coverage
    return np.asarray(pool.similarity + weighed - own * np.float32(weights.handicap[pool.asked]), np.float32)


def positions(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rank (from 0) of each question's best right passage; ties count against it.

    Where none is among the candidates it is the number of candidates.
    """
    best = np.where(right, scores, -np.inf).max(1, initial=-np.inf)
    ahead = (scores >= best[:, None]).sum(1) - 1
    return np.asarray(np.where(np.isfinite(best), ahead, scores.shape[1]), np.int64)


def quality(pools: Sequence[Pool], scores: Sequence[NDArray[np.float32]]) -> Quality:
    """Measure rankings."""
    found = [positions(score, pool.right) for pool, score in zip(pools, scores, strict=True)]
    return Quality(
        float(np.mean([recall_at(places, _DEPTH) for places in found])),
        float(np.mean([ndcg_at(places, _DEPTH) for places in found])),
    )


def bias(pool: Pool, scores: NDArray[np.float32]) -> float:
    """Return how many times too often the first ten are in the question's language."""
    first = np.argsort(-scores, axis=1, kind="stable")[:, :_DEPTH]
    return float(np.take_along_axis(pool.own, first, 1).mean() / pool.own_share)


def chance_coverage(pools: Sequence[Pool]) -> dict[str, float]:
    """Return by language how much of a question passages of the same language hold that answer nothing."""
    found: dict[str, list[float]] = {}
    for pool in pools:
        held = np.sort(np.where(pool.own & ~pool.right, pool.coverage, 0), axis=1)
        found.setdefault(pool.asked, []).append(float(held[:, -min(_CHANCE_RANK, held.shape[1])].mean()))
    return {code: float(np.mean(values)) for code, values in found.items()}


def choose_weights(pools: Sequence[Pool]) -> FusionWeights:
    """Fit the weights on pools of all kinds.

    The weight within a language comes from the pools of that language alone, where nothing else counts. The
    others maximise the mean nDCG@10 over three kinds of pools (one other language; all languages; sentences,
    where every right answer is in another language) among those that neither favour nor neglect the
    question's own language.
    """
    chance = chance_coverage([pool for pool in pools if pool.kind == "sentences"])
    own = _choose_own(pools, chance)
    choices = [
        FusionWeights(own, other, {code: own * share * value + offset for code, value in chance.items()})
        for other, share, offset in itertools.product(_OTHER, _CHANCE_SHARES, _OFFSETS)
    ]
    gains = [_gain(pools, choice) for choice in choices]
    equal = [(one, gain) for one, gain in zip(choices, gains, strict=True) if gain >= max(gains) - _EQUAL]
    least = min(one.other for one, _ in equal)
    return max((pair for pair in equal if pair[0].other == least), key=lambda pair: pair[1])[0]


def _gain(pools: Sequence[Pool], weights: FusionWeights) -> float:
    """Return the mean nDCG over kinds of pools, or how far from fair the mixed ones are, below 0."""
    mixed = [pool for pool in pools if pool.kind == "mixed"]
    favour = float(np.mean([bias(pool, fused(pool, weights)) for pool in mixed]))
    if not 1 / MOST_BIAS <= favour <= MOST_BIAS:
        return -abs(float(np.log(max(favour, 1e-9))))
    across = [pool for pool in pools if pool.kind == "one" and not pool.own.any()]
    sentences = [pool for pool in pools if pool.kind == "sentences"]
    measured = [
        quality(group, [fused(pool, weights) for pool in group]).ndcg for group in (mixed, across, sentences)
    ]
    return float(np.mean(measured))


def _choose_own(pools: Sequence[Pool], chance: dict[str, float]) -> float:
    """Choose the weight within a language; falling behind words alone in any language costs most."""
    same = [pool for pool in pools if pool.kind == "one" and pool.own.any()]
    floor = [quality([pool], [pool.words]).recall for pool in same]

    def gain(own: float) -> float:
        weights = FusionWeights(own, 0.0, dict.fromkeys(chance, 0.0))
        each = [quality([pool], [fused(pool, weights)]) for pool in same]
        lost = min(0.0, *(one.recall - least for one, least in zip(each, floor, strict=True)))
        return float(np.mean([(one.recall + one.ndcg) / 2 for one in each])) + 10 * lost

    return max(_OWN, key=gain)
