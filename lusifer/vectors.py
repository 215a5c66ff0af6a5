"""Unit vectors, for every kind of model. Must not know models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows ``(n, dimensions)`` to unit length, in place, and return them.

    A row of zeros, as a text without tokens has, becomes ``1/sqrt(dimensions)`` in every place: a fixed
    direction that is close to no text in particular, and never NaN.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    empty = ~(norms > 1e-12)
    rows[empty], norms[empty] = 1.0, np.sqrt(np.float32(rows.shape[1]))
    rows /= norms[:, None]
    return rows
