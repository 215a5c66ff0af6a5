"""Fill a model from safetensors files, one tensor at a time, with never two copies of the weights in memory.

Knows files, tensors and devices. Must not know what the tensors are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lusifer.checkpoints.mapped import SIZES, TensorInfo, read_header
from lusifer.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_AGAIN = "copy or download the checkpoint again"
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WeightFiles:
    """The tensors of a checkpoint folder, in one safetensors file or in several with an index.

    Raises:
        CheckpointError: a file is missing or damaged; names the file, and the tensor where it is one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = [folder / SINGLE] if (folder / SINGLE).is_file() else _shards(folder)
        self._where: dict[str, tuple[Path, TensorInfo]] = {}
        for path in self.paths:
            for name, info in read_header(path).items():
                if name in self._where:
                    other = self._where[name][0].name
                    raise CheckpointError(f"tensor {name} is in {other} and in {path.name}", hint=_AGAIN)
                self._where[name] = (path, info)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading it."""
        return self._where[name][1].shape

    def read(self, name: str) -> Tensor:
        """Return a tensor backed by the file; it takes no memory of its own until it is written to."""
        path, info = self._where[name]
        if 0 in info.shape:
            return torch.empty(info.shape, dtype=_TYPES[info.dtype])
        raw = np.memmap(path, np.uint8, "c", offset=info.start, shape=(info.stop - info.start,))
        aligned = info.start % SIZES[info.dtype] == 0
        flat = torch.from_numpy(raw if aligned else np.array(raw))
        return flat.view(_TYPES[info.dtype]).view(info.shape)


def _shards(folder: Path) -> list[Path]:
    path = folder / INDEX
    if not path.is_file():
        raise CheckpointError(f"{folder} holds neither {SINGLE} nor {INDEX}", hint=_AGAIN)
    try:
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}", hint=_AGAIN) from error
    shards = [folder / str(name) for name in sorted(names)]
    for shard in shards:
        if shard.parent != folder:
            raise CheckpointError(f"{path} points outside its folder: {shard}", hint=_AGAIN)
    return shards


def fill(
    model: nn.Module,
    read: Callable[[str], Tensor],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Give every parameter of a model that was built on the meta device its values.

    Args:
        model: its parameters are replaced, without gradients.
        read: returns the tensor of a parameter; it is copied, so it may be backed by a file.
        device: where the parameters go.
        dtype: what they are converted to.
    """
    # Memory for what stays is taken before that for what passes, so that the latter leaves no holes.
    values = {
        name: torch.empty(parameter.shape, dtype=dtype, device=device)
        for name, parameter in model.named_parameters()
    }
    for name, value in values.items():
        value.copy_(read(name))
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
    for module in model.modules():
        restore = getattr(module, "restore_buffers", None)
        if restore is not None:
            restore()
    model.to(device)


def check_names(path: Path, missing: set[str], extra: set[str]) -> None:
    """Refuse a checkpoint with too few or too many tensors, naming the first of them.

    Raises:
        CheckpointError: either set holds a name.
    """
    for names, what in ((missing, "lacks"), (extra, "holds the unknown")):
        if names:
            first = min(names)
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path} {what} tensor {first}{more}", hint=_AGAIN)


def check_shape(path: Path, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse a tensor of the wrong shape.

    Raises:
        CheckpointError: the shapes differ; names the tensor and both.
    """
    if found != wanted:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {list(found)}, the configuration wants {list(wanted)}",
            hint="weights and configuration belong to different models; copy the folder again",
        )
