"""Turn the float32 parameters of a trained model into the tensors that are shipped.

Word embeddings become blocks of 4 bits, matrices int8 with one factor per output channel; what they read is
put into 8 bits with a factor and a zero fixed here, from the activations of calibration texts. Channels that
reach far are first shrunk, and the matrix's rows grown by as much (SmoothQuant, arXiv 2211.10438).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lusifer.model import Lusifer

Tensors = dict[str, NDArray[np.generic]]

BLOCK = 32
WORDS = "encoder.transformer.embeddings.word_embeddings.weight"
#: Rows kept of each batch, and looked at in all, to choose how a layer reads its states.
_SAMPLE, _ROWS = 24, 384
#: Weights are kept to 7 bits: two products of an 8-bit and a 7-bit number fit 16 bits, so that processors
#: without VNNI, which add pairs in 16 bits, get the same sums as those with it.
LEVELS = 63


_STRENGTHS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
_CLIPS = (1.0, 0.9, 0.75, 0.6)


@dataclass
class Reach:
    """What a linear layer reads: the smallest and largest number of each input channel, and some rows."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    rows: list[NDArray[np.float32]]


@contextmanager
def watch(model: Lusifer, mask: Sequence[torch.Tensor]) -> Iterator[dict[str, Reach]]:
    """Record what every linear layer of a model reads while the context lasts.

    Args:
        model: the model that is run inside.
        mask: holds the attention mask of the batch being run as its only item; padding is not counted.
    """
    seen: dict[str, Reach] = {}
    rng = np.random.default_rng(0)

    def note(name: str, states: torch.Tensor) -> None:
        rows = states[mask[0].bool()].float().numpy()
        low, high = rows.min(axis=0), rows.max(axis=0)
        some = rows[rng.choice(len(rows), min(len(rows), _SAMPLE), replace=False)]
        found = seen.setdefault(name, Reach(low, high, []))
        found.low, found.high = np.minimum(low, found.low), np.maximum(high, found.high)
        found.rows.append(some)

    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def quantise(parameters: Mapping[str, NDArray[np.float32]], reaches: Mapping[str, Reach]) -> Tensors:
    """Return the tensors to ship.

    Args:
        parameters: of a model with an XLM-RoBERTa encoder and, perhaps, a connector.
        reaches: what :func:`watch` recorded.
    """
    tensors: Tensors = {}
    done: set[str] = set()
    for group in _groups(reaches):
        done |= {f"{name}.{kind}" for name in group for kind in ("weight", "bias")}
        _quantise_group(parameters, reaches[group[0]], group, tensors)
    second = "connector.ff.2.weight"
    if second in parameters:
        done.add(second)
        tensors[f"{second}.t"] = np.ascontiguousarray(parameters[second].T, np.float16)
    tensors[f"{WORDS}.q4"], tensors[f"{WORDS}.factors"] = pack_rows(parameters[WORDS])
    done.add(WORDS)
    for name, value in parameters.items():
        if name not in done:
            tensors[name] = np.ascontiguousarray(value, np.float32)
    return tensors


def _groups(reaches: Mapping[str, Reach]) -> list[list[str]]:
    """Return the layers that are quantised, those that read the same states together."""
    groups: list[list[str]] = []
    for name in reaches:
        if name.endswith("attention.self.query"):
            stem = name.removesuffix("query")
            groups.append([f"{stem}query", f"{stem}key", f"{stem}value"])
        elif name != "connector.ff.2" and ".self." not in name:
            groups.append([name])
    return groups


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a group of layers reads its states in 8 bits."""

    spread: NDArray[np.float32]
    factor: np.float32
    zero: int

    def read(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what is left of rows, still multiplied by ``spread``."""
        numbers = np.clip(np.rint(rows * self.spread / self.factor) + self.zero, 0, 255) - self.zero
        values: NDArray[np.float32] = (numbers * self.factor).astype(np.float32)
        return values


def _quantise_group(
    parameters: Mapping[str, NDArray[np.float32]], reach: Reach, group: Sequence[str], tensors: Tensors
) -> None:
    weights = np.concatenate([parameters[f"{name}.weight"] for name in group])
    rows = np.concatenate(reach.rows)[-_ROWS:]
    wanted = rows @ weights.T
    plans = [_plan(reach, weights, strength, clip) for strength in _STRENGTHS for clip in _CLIPS]
    best = min(plans, key=lambda plan: _error(plan, rows, weights, wanted))
    for name in group:
        numbers, factors = _round_matrix(parameters[f"{name}.weight"] / best.spread)
        tensors[f"{name}.spread"] = best.spread
        tensors[f"{name}.input_factor"] = np.array(best.factor, np.float32)
        tensors[f"{name}.input_zero"] = np.array(best.zero, np.uint8)
        tensors[f"{name}.weight.q8"] = np.ascontiguousarray(numbers.T)
        tensors[f"{name}.weight.factors"] = factors
        tensors[f"{name}.bias"] = parameters[f"{name}.bias"].astype(np.float32)


def _plan(reach: Reach, weights: NDArray[np.float32], strength: float, clip: float) -> _Plan:
    top = np.maximum(np.abs(reach.low), np.abs(reach.high)).clip(1e-5)
    spread = np.ones_like(top)
    if strength:
        spread = np.abs(weights).max(axis=0).clip(1e-5) ** (1 - strength) / top**strength
        spread /= np.exp(np.log(spread).mean())
    low = min(0.0, float((reach.low * spread).min()) * clip)
    high = max(0.0, float((reach.high * spread).max()) * clip)
    factor = max(high - low, 1e-8) / 255
    return _Plan(spread.astype(np.float32), np.float32(factor), round(-low / factor))


def _error(
    plan: _Plan, rows: NDArray[np.float32], weights: NDArray[np.float32], wanted: NDArray[np.float32]
) -> float:
    numbers, factors = _round_matrix(weights / plan.spread)
    got = (plan.read(rows) @ numbers.T.astype(np.float32)) * factors
    return float(np.square(got - wanted).mean())


def _round_matrix(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    factors = (np.abs(matrix).max(axis=1).clip(1e-12) / LEVELS).astype(np.float32)
    return np.rint(matrix / factors[:, None]).astype(np.int8), factors


def pack_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Put rows into blocks of signed 4-bit numbers.

    The number that reaches farthest becomes -8, so a table that came out of such blocks goes back in
    without loss.

    Returns:
        Bytes ``(rows, width / 2)``, the first of two numbers in the low half, and the factors of the blocks
        ``(rows, width / 32)``.
    """
    rows, width = table.shape
    blocks = table.reshape(rows, width // BLOCK, BLOCK)
    far = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
    factors = (far / np.float32(-8)).astype(np.float16)
    safe = np.where(factors == 0, np.float32(1), factors.astype(np.float32))
    numbers = np.clip(np.rint(blocks / safe[..., None]), -8, 7).astype(np.int8).reshape(rows, width)
    low, high = numbers[:, 0::2] & 15, numbers[:, 1::2] & 15
    return (low | (high << 4)).astype(np.uint8), factors
