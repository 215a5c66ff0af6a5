"""Ranking metrics over score matrices: accuracy, recall, nDCG, language bias.

Pure functions of arrays. Must not know where the scores come from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]


def ranks(scores: Scores, relevant: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank (from 0) of each row's relevant column; ties count against it.

    Args:
        scores: shape (queries, candidates).
        relevant: column that answers each query, shape (queries,).
    """
    own = scores[np.arange(len(scores)), relevant][:, None]
    return np.asarray((scores >= own).sum(1) - 1, dtype=np.int64)


def recall_at(positions: NDArray[np.int64], k: int) -> float:
    """Return the share of queries whose relevant candidate is among the first ``k``."""
    return float((positions < k).mean())


def ndcg_at(positions: NDArray[np.int64], k: int) -> float:
    """Return nDCG@k for one relevant candidate each (Järvelin & Kekäläinen 2002)."""
    return float(np.where(positions < k, 1 / np.log2(positions + 2.0), 0.0).mean())


def top(scores: Scores, k: int) -> NDArray[np.int64]:
    """Return the columns of the ``k`` best of each row, best first, shape (queries, k)."""
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def nearest_centroid(
    train: NDArray[np.float32], labels: list[str], test: NDArray[np.float32], truth: list[str]
) -> float:
    """Return the accuracy of giving each test vector the label of the nearest mean training vector."""
    names = sorted(set(labels))
    known = np.array(labels)
    centroids = np.stack([train[known == name].mean(0) for name in names])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    guesses = np.array(names)[(test @ centroids.T).argmax(1)]
    return float((guesses == np.array(truth)).mean())
