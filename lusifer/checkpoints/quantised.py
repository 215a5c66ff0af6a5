"""The tensors of a quantised model, and how they become parameters again.

``NAME.q8``     int8 matrix, transposed, with ``NAME.factors``, one for each output channel
``NAME.q4``     bytes of two signed 4-bit numbers each, the first in the low half, with ``NAME.factors``, one
                for each block of a row
``NAME.t``      float16 matrix, transposed
``LAYER.spread``, ``LAYER.input_factor``, ``LAYER.input_zero``
                what a linear layer reads is multiplied by ``spread`` and put into 8 bits; its matrix was
                divided by ``spread`` before
Everything else is float32 under the parameter's own name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lusifer.checkpoints.own import WEIGHTS, map_tensors

_BESIDE = (".factors", ".spread", ".input_factor", ".input_zero")


class QuantisedFile:
    """The parameters of a quantised checkpoint, to be read one at a time into torch.

    Attributes:
        shapes: of all parameters, by name.

    Raises:
        CheckpointError: the weights file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._tensors: dict[str, NDArray[Any]] = map_tensors(folder / WEIGHTS)
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name, tensor in self._tensors.items():
            if name.endswith((".q8", ".t")):
                self.shapes[name.rpartition(".")[0]] = tensor.shape[::-1]
            elif name.endswith(".q4"):
                self.shapes[name.removesuffix(".q4")] = (tensor.shape[0], tensor.shape[1] * 2)
            elif not name.endswith(_BESIDE):
                self.shapes[name] = tensor.shape

    def read(self, name: str) -> torch.Tensor:
        """Return a parameter in float32."""
        return torch.from_numpy(np.array(self._restore(name), np.float32))

    def _restore(self, name: str) -> NDArray[Any]:
        tensors = self._tensors
        if name in tensors:
            return tensors[name]
        if f"{name}.t" in tensors:
            return tensors[f"{name}.t"].T
        factors = tensors[f"{name}.factors"].astype(np.float32)
        if f"{name}.q4" in tensors:
            return unpack_rows(tensors[f"{name}.q4"], factors)
        matrix: NDArray[np.float32] = tensors[f"{name}.q8"].T.astype(np.float32) * factors[:, None]
        spread = tensors.get(f"{name.removesuffix('.weight')}.spread")
        return matrix if spread is None else matrix * spread


def unpack_rows(packed: NDArray[np.uint8], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of float32 out of blocks of signed 4-bit numbers."""
    rows = len(packed)
    halves = np.stack([packed & 15, packed >> 4], axis=2).reshape(rows, factors.shape[1], -1).astype(np.int8)
    numbers = np.where(halves > 7, halves - 16, halves).astype(np.float32)
    values: NDArray[np.float32] = (numbers * factors[..., None]).reshape(rows, -1)
    return values
