"""Logistic regression by Newton's method, with weights for rows and a penalty for each coefficient.

Knows arrays only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_STEPS = 50
_ENOUGH = 1e-8


def fit_logistic(
    features: Array, answers: NDArray[np.bool_], weights: Array, penalty: Array, fixed: Array | None = None
) -> Array:
    """Maximise the penalised likelihood (iteratively reweighted least squares, Hastie et al. 2009, 4.4.1).

    Args:
        features: shape (rows, coefficients).
        answers: what happened, shape (rows,).
        weights: of each row, shape (rows,).
        penalty: half of it times the coefficient squared is taken off, shape (coefficients,).
        fixed: log-odds known beforehand, shape (rows,).

    Returns:
        coefficients.
    """
    start = np.zeros(len(features)) if fixed is None else fixed
    found = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        likely = sigmoid(start + features @ found)
        slope = features.T @ (weights * (answers - likely)) - penalty * found
        spread = weights * likely * (1 - likely)
        curve = (features * spread[:, None]).T @ features + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curve, slope)
        found += step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < _ENOUGH:
            break
    return found


def fit_growing(
    features: Array, answers: NDArray[np.bool_], weights: Array, penalty: Array, growing: NDArray[np.bool_]
) -> Array:
    """Fit as ``fit_logistic`` does, but let no coefficient marked in ``growing`` be negative.

    Where evidence seems to speak against an answer it is noise: the least useful is left out, and the rest
    fitted again.
    """
    used = np.ones(features.shape[1], np.bool_)
    while True:
        found = np.zeros(features.shape[1])
        found[used] = fit_logistic(features[:, used], answers, weights, penalty[used])
        wrong = growing & (found < 0)
        if not wrong.any():
            return found
        used[int(np.argmin(np.where(wrong, found * features.std(0), 0)))] = False


def sigmoid(odds: Array) -> Array:
    """Return probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))), np.float64)
