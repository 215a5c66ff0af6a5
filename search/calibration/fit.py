"""Calibrate a model: from questions with known answers to the numbers that its folder ships with.

First how words weigh against vectors (``weights``), then the probability that a hit is right and the score
below which most likely nothing is. The first hits of every question are looked at twice: as they are, and
with the answers taken out of the pool, so that the score learns what a question without an answer looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from common.files import write_atomically
from lusifer.checkpoints.own import CONFIG, read_config
from lusifer.errors import DataError
from search.calibration.pools import Pool
from search.calibration.weights import chance_coverage, choose_weights, fused
from search.ranking import Calibration, FusionWeights, Logit, ScoreWeights, features

#: Hits of each question that are learnt from; further ones are hardly ever right.
_HITS = 3
#: A question without an answer counts this much of one with an answer: one in five has none.
_UNANSWERED = 0.25
#: Of the first hits that are right, the share that may be called weak.
WEAK_SHARE = 0.1
#: What all rows of a kind of pools weigh together: the more, the less the penalties matter.
_TOTAL = 2000.0
#: Of the coefficients' squares; for data that a formula could tell apart without error.
_PENALTY = 1e-3
#: Pairs are pulled to none, as if this many times four questions had been answered as the formula says.
_PAIR_PENALTY = 50.0
#: Smaller offsets move a score by a hundredth at most.
_SMALL_OFFSET = 0.05


def calibrate(pools: Sequence[Pool]) -> Calibration:
    """Fit weights, then scores on what they find first.

    Raises:
        DataError: the pools lack what the fit needs.
    """
    own = [bool(pool.own.any()) for pool in pools if pool.kind == "one"]
    known = {pool.asked for pool in pools if pool.kind == "sentences"}
    unknown = {pool.asked for pool in pools} - known
    if not any(own) or all(own) or unknown:
        raise DataError(
            "the questions cannot calibrate a model"
            + (f": there are no parallel sentences in {', '.join(sorted(unknown))}" if unknown else ""),
            hint="give questions in one language and across languages, and sentences in all of them",
        )
    weights = choose_weights(pools)
    chance = chance_coverage([pool for pool in pools if pool.kind == "sentences"])
    return Calibration(weights, fit_scores(pools, weights, chance))


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Put a calibration into a model folder's ``config.json``, all at once; vectors do not depend on it.

    Raises:
        CheckpointError, ConfigError: the folder holds no model of our own format.
    """
    config = replace(read_config(folder), calibration=calibration.to_dict())
    write_atomically(folder / CONFIG, config.to_json())


@dataclass(frozen=True, slots=True)
class Hits:
    """First hits of questions, one row each.

    Attributes:
        known: similarity, background, coverage, words; shape (rows, 4).
        own: whether the passage is in the question's language.
        language: of the passage.
        asked: language of the question.
        right: whether the passage answers the question.
        place: number of the hit, from 0.
        answered: whether the pool holds an answer.
    """

    known: NDArray[np.float64]
    own: NDArray[np.bool_]
    language: NDArray[np.str_]
    asked: NDArray[np.str_]
    right: NDArray[np.bool_]
    place: NDArray[np.int64]
    answered: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.own)

    def where(self, mask: NDArray[np.bool_]) -> Hits:
        """Return some of the rows."""
        return Hits(
            self.known[mask],
            self.own[mask],
            self.language[mask],
            self.asked[mask],
            self.right[mask],
            self.place[mask],
            self.answered[mask],
        )


def first_hits(pool: Pool, weights: FusionWeights, *, answered: bool = True, most: int = _HITS) -> Hits:
    """Rank a pool and list each question's first hits; ``answered`` says whether the pool has answers."""
    scores = fused(pool, weights)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]

    def pick(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.take_along_axis(values, order, 1).ravel()

    around = np.broadcast_to(pool.nearest, pool.similarity.shape)
    known = [pick(values) for values in (pool.similarity, around, pool.coverage, pool.words)]
    place = np.broadcast_to(np.arange(order.shape[1]), order.shape).ravel()
    hits = Hits(
        np.stack(known, axis=1).astype(np.float64),
        pick(pool.own).astype(np.bool_),
        pick(pool.language).astype(np.str_),
        np.full(order.size, pool.asked),
        pick(pool.right).astype(np.bool_),
        place,
        np.full(order.size, answered),
    )
    return hits.where(np.isfinite(hits.known[:, 0]))


def join(parts: Sequence[Hits]) -> Hits:
    """Put hits together."""
    names = ("known", "own", "language", "asked", "right", "place", "answered")
    return Hits(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def fit_scores(pools: Sequence[Pool], weights: FusionWeights, chance: dict[str, float]) -> ScoreWeights:
    """Fit the score on the first hits of all pools; each kind of pool counts the same."""
    kinds = list(dict.fromkeys(pool.kind for pool in pools))
    groups = [
        join(
            [
                first_hits(pool if answered else pool.unanswered(), weights, answered=answered)
                for pool in pools
                if pool.kind == kind
                for answered in (True, False)
            ]
        )
        for kind in kinds
    ]
    # No sentence is asked for in its own language, so what is found there says nothing of right hits.
    near = [group.where(group.own) for group, kind in zip(groups, kinds, strict=True) if kind != "sentences"]
    far = [group.where(~group.own) for group in groups]
    own, other = _fit_logit(near, chance), _fit_logit(far, chance)
    background = float(np.mean([pool.nearest.mean() for pool in pools]))
    draft = ScoreWeights(
        own, other, chance, background, weak=0.0, pairs=_fit_pairs(near + far, own, other, chance)
    )
    return ScoreWeights(own, other, chance, background, _weak(groups, draft), draft.pairs)


def probability(hits: Hits, weights: ScoreWeights) -> NDArray[np.float64]:
    """Return the score of each hit, as ``search.ranking.score`` gives it where languages are sure."""
    odds = np.where(
        hits.own, _odds(hits, weights.own, weights.chance), _odds(hits, weights.other, weights.chance)
    )
    pairs = zip(hits.asked.tolist(), hits.language.tolist(), strict=True)
    return expit(odds + np.array([weights.pairs.get(f"{a}-{b}", 0.0) for a, b in pairs]))


def _features(hits: Hits, chance: dict[str, float]) -> NDArray[np.float64]:
    expected = np.array(
        [chance.get(code, 0.0) if own else 0.0 for code, own in zip(hits.asked, hits.own, strict=True)]
    )
    similarity, around, coverage, words = hits.known.T
    columns = features(similarity, around, coverage, expected, words)
    return np.stack(
        [np.broadcast_to(np.asarray(column, np.float64), similarity.shape) for column in columns], 1
    )


def _odds(hits: Hits, logit: Logit, chance: dict[str, float]) -> NDArray[np.float64]:
    factors = (logit.bias, logit.similarity, logit.contrast, logit.coverage, logit.words)
    return np.asarray(_features(hits, chance) @ np.array(factors), np.float64)


def _fit_logit(groups: Sequence[Hits], chance: dict[str, float]) -> Logit:
    hits = join(groups)
    return Logit(*fit_growing(_features(hits, chance), hits.right, _row_weights(groups)).tolist())


def fit_growing(
    rows: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit a logistic regression without negative coefficients, but for the first column's, the bias.

    Where evidence seems to speak against an answer it is noise: the least useful is left out, and the rest
    fitted again.
    """
    used = np.ones(rows.shape[1], np.bool_)
    growing = np.arange(rows.shape[1]) > 0
    while True:
        regression = LogisticRegression(
            C=1 / _PENALTY, fit_intercept=False, solver="newton-cholesky", tol=1e-9, max_iter=200
        )
        found = np.zeros(rows.shape[1])
        found[used] = regression.fit(rows[:, used], right, sample_weight=weights).coef_[0]
        wrong = growing & (found < 0)
        if not wrong.any():
            return found
        used[int(np.argmin(np.where(wrong, found * rows.std(0), 0)))] = False


def _row_weights(groups: Sequence[Hits]) -> NDArray[np.float64]:
    """Let each group weigh the same, whatever its size."""
    parts = []
    for group in groups:
        part = np.where(group.answered, 1.0, _UNANSWERED)
        parts.append(part * _TOTAL / max(1e-9, float(part.sum())))
    return np.concatenate(parts)


def _fit_pairs(
    groups: Sequence[Hits], own: Logit, other: Logit, chance: dict[str, float]
) -> dict[str, float]:
    """Fit an offset for each pair of languages on top of the common formula, pulled towards none."""
    hits, weights = join(groups), _row_weights(groups)
    odds = np.where(hits.own, _odds(hits, own, chance), _odds(hits, other, chance))
    names = np.char.add(np.char.add(hits.asked, "-"), hits.language)
    pairs, column = np.unique(names, return_inverse=True)
    offsets = {}
    for number, pair in enumerate(pairs.tolist()):
        rows = column == number
        offsets[pair] = _fit_offset(odds[rows], hits.right[rows], weights[rows])
    return {pair: offset for pair, offset in offsets.items() if abs(offset) >= _SMALL_OFFSET}


def _fit_offset(odds: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Find what to add to known log-odds, with a penalty: where the likelihood's slope is none."""

    def slope(offset: float) -> float:
        return float((weights * (right - expit(odds + offset))).sum() - _PAIR_PENALTY * offset)

    return float(brentq(slope, -60.0, 60.0))


def _weak(groups: Sequence[Hits], weights: ScoreWeights) -> float:
    """Return the score that all but a given share of right first hits reach, the mean over kinds of pools."""
    first = [group.where((group.place == 0) & group.right) for group in groups]
    return float(
        np.mean([np.quantile(probability(part, weights), WEAK_SHARE) for part in first if len(part)])
    )


def expit(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))), np.float64)
