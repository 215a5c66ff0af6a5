"""Turn what the store measured into a score from 0 to 1 that people can read.

The score grows with the cosine and with the lexical score, and never contradicts the order of the hits. That
order is the store's, which weighs the two otherwise, so where a hit measures better than one above it, both
get their mean.
Knows numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """How cosines and lexical scores of a model map to scores.

    The defaults are lusifer-mini's: about the share of first hits that are right, between a hard set (MLQA's
    paragraphs of one language) and an easy one (the samples); see docs/experiments.md.

    Attributes:
        midpoint: the cosine that scores 0.5 by itself.
        slope: cosine distance over which the odds grow by a factor of e.
        lexical_weight: the most that lexical evidence closes of the gap to 1.
        lexical_half: the lexical score that counts for half of that.
    """

    midpoint: float = 0.50
    slope: float = 0.15
    lexical_weight: float = 0.9
    lexical_half: float = 7.5


#: Below this a hit is called weak: most likely it is not about what was asked.
WEAK = 0.25


def score(similarity: float, lexical: float, calibration: Calibration | None = None) -> float:
    """Score a passage from 0 to 1; never falls when either argument grows."""
    use = calibration or Calibration()
    semantic = 1 / (1 + math.exp(-(similarity - use.midpoint) / use.slope))
    words = max(lexical, 0.0)
    evidence = use.lexical_weight * words / (words + use.lexical_half)
    return 1 - (1 - semantic) * (1 - evidence)


def never_rising(scores: Sequence[float], *, page: int) -> list[float]:
    """Level scores so that none is above the one before it.

    Within a page the result is the closest non-rising sequence (isotonic regression by pooling neighbours).
    No page rises above the one before it, and a page does not depend on those after it, so paging forth and
    back shows the same scores.

    Args:
        scores: in the order of the hits, from the first hit on.
        page: how many hits a page has.
    """
    levelled: list[float] = []
    for first in range(0, len(scores), page):
        ceiling = levelled[-1] if levelled else 1.0
        levelled += [min(ceiling, value) for value in _pool(scores[first : first + page])]
    return levelled


def _pool(scores: Sequence[float]) -> list[float]:
    """Closest non-rising sequence in the sense of least squares."""
    blocks: list[tuple[float, int]] = []
    for value in scores:
        total, count = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] < total / count:
            above_total, above_count = blocks.pop()
            total, count = total + above_total, count + above_count
        blocks.append((total, count))
    return [total / count for total, count in blocks for _ in range(count)]
