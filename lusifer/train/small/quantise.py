"""Turn the float32 parameters of a trained model into the tensors that are shipped.

Word embeddings become blocks of 4 bits, matrices int8 with one factor per output channel; what they read is
put into 8 bits with a factor and a zero fixed here, from the activations of calibration texts. Channels that
reach far are first shrunk, and the matrix's rows grown by as much (SmoothQuant, arXiv 2211.10438).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lusifer.model import Lusifer

Tensors = dict[str, NDArray[np.generic]]

BLOCK = 32
WORDS = "encoder.transformer.embeddings.word_embeddings.weight"
#: Weights are kept to 7 bits: two products of an 8-bit and a 7-bit number fit 16 bits, so that processors
#: without VNNI, which add pairs in 16 bits, get the same sums as those with it.
LEVELS = 63


@dataclass
class Reach:
    """The smallest and the largest number each input channel of a linear layer was seen with."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    tops: list[NDArray[np.float32]] = field(default_factory=list)


@contextmanager
def watch(model: Lusifer, mask: Sequence[torch.Tensor]) -> Iterator[dict[str, Reach]]:
    """Record what every linear layer of a model reads while the context lasts.

    Args:
        model: the model that is run inside.
        mask: holds the attention mask of the batch being run as its only item; padding is not counted.
    """
    seen: dict[str, Reach] = {}

    def note(name: str, states: torch.Tensor) -> None:
        rows = states[mask[0].bool()].float()
        low, high = rows.amin(dim=0).numpy(), rows.amax(dim=0).numpy()
        if name in seen:
            low, high = np.minimum(low, seen[name].low), np.maximum(high, seen[name].high)
            seen[name].low, seen[name].high = low, high
        else:
            seen[name] = Reach(low, high)

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


def quantise(
    parameters: Mapping[str, NDArray[np.float32]], reaches: Mapping[str, Reach], strength: float = 0.5
) -> Tensors:
    """Return the tensors to ship.

    Args:
        parameters: of a model with an XLM-RoBERTa encoder and, perhaps, a connector.
        reaches: what :func:`watch` recorded.
        strength: 0 leaves channels as they are, 1 brings them all to one reach.
    """
    tensors: Tensors = {}
    done: set[str] = set()
    for group in _groups(reaches):
        done |= {f"{name}.{kind}" for name in group for kind in ("weight", "bias")}
        _quantise_group(parameters, reaches[group[0]], group, strength, tensors)
    second = "connector.ff.2"
    if f"{second}.weight" in parameters:
        done.add(f"{second}.weight")
        tensors[f"{second}.weight.t"] = np.ascontiguousarray(parameters[f"{second}.weight"].T, np.float16)
    packed, factors = pack_rows(parameters[WORDS])
    tensors[f"{WORDS}.q4"], tensors[f"{WORDS}.factors"] = packed, factors
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


def _quantise_group(
    parameters: Mapping[str, NDArray[np.float32]],
    reach: Reach,
    group: Sequence[str],
    strength: float,
    tensors: Tensors,
) -> None:
    first = group[0]
    weights = np.concatenate([parameters[f"{name}.weight"] for name in group])
    top = np.maximum(np.abs(reach.low), np.abs(reach.high)).clip(1e-5)
    spread = (np.abs(weights).max(axis=0).clip(1e-5) ** (1 - strength) / top**strength).astype(np.float32)
    spread /= np.exp(np.log(spread).mean())
    if strength > 0:
        tensors[f"{first}.spread"] = spread
    else:
        spread = np.ones_like(spread)
    low = float(min(0, (reach.low * spread).min()))
    high = float((reach.high * spread).max())
    factor = max(high - low, 1e-8) / 255
    tensors[f"{first}.input_factor"] = np.array(factor, np.float32)
    tensors[f"{first}.input_zero"] = np.array(round(-low / factor), np.uint8)
    for name in group:
        weight = parameters[f"{name}.weight"] / spread
        factors = np.abs(weight).max(axis=1).clip(1e-12) / LEVELS
        tensors[f"{name}.weight.q8"] = np.ascontiguousarray(np.rint(weight / factors[:, None]).T, np.int8)
        tensors[f"{name}.weight.factors"] = factors.astype(np.float32)
        tensors[f"{name}.bias"] = parameters[f"{name}.bias"].astype(np.float32)


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
