"""Read single tensors of a safetensors file through the page cache, with every claim of its header checked.

Knows the file format (8-byte length, JSON header, raw data). Must not know models, and needs numpy only.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lusifer.errors import CheckpointError

#: Bytes per element of the types a checkpoint may hold.
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "|i1", "U8": "|u1"}
_LONGEST_HEADER = 100_000_000
_AGAIN = "copy or download the file again"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says of one tensor: type, shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Return every tensor of a safetensors file by name, in the header's order.

    Raises:
        CheckpointError: the file is missing, damaged or shorter than its header says; names file and tensor.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise CheckpointError(f"{path} is cut off or is no safetensors file", hint=_AGAIN)
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", hint=_AGAIN) from error
    except ValueError as error:
        raise CheckpointError(f"{path} has a damaged header: {error}", hint=_AGAIN) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} has a damaged header: it is no JSON object", hint=_AGAIN)
    return {
        name: _read_info(path, name, entry, 8 + length, size)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _read_info(path: Path, name: str, entry: Any, base: int, size: int) -> TensorInfo:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
        first, last = (int(offset) for offset in entry["data_offsets"])
        expected = SIZES[dtype] * math.prod(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the header entry of tensor {name} is damaged", hint=_AGAIN) from error
    if min((first, *shape)) < 0 or last - first != expected:
        raise CheckpointError(
            f"{path}: tensor {name} is {dtype}{list(shape)} but spans {last - first} bytes", hint=_AGAIN
        )
    if base + last > size:
        raise CheckpointError(
            f"{path} is cut off: tensor {name} ends at byte {base + last} of {size}", hint=_AGAIN
        )
    return TensorInfo(dtype, shape, base + first, base + last)


def map_tensor(path: Path, name: str, info: TensorInfo) -> NDArray[Any]:
    """Return one tensor as a read-only array backed by the file.

    Raises:
        CheckpointError: numpy has no such type (bfloat16, for one).
    """
    if info.dtype not in _NUMPY:
        raise CheckpointError(
            f"{path}: tensor {name} has type {info.dtype}", hint=f"expected one of {', '.join(_NUMPY)}"
        )
    if math.prod(info.shape) == 0:
        return np.empty(info.shape, _NUMPY[info.dtype])
    return np.memmap(path, _NUMPY[info.dtype], "r", offset=info.start, shape=info.shape)
