"""The tensors of whole models in safetensors files: checked by name, read one at a time, written.

Loading never holds two copies of the weights: memory is taken for the model's parameters, and each of them is
filled from a tensor that the file backs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from lusifer.checkpoints.own import CONFIG, TOKENIZER, WEIGHTS, map_tensors, read_json
from lusifer.config import ModelConfig
from lusifer.errors import CheckpointError

INDEX = "model.safetensors.index.json"
#: What is read from a file counts as memory until the file is closed: it is opened again after so many bytes.
_WINDOW = 64 << 20
_AGAIN = "copy or download the checkpoint again"


class WeightFiles:
    """The tensors of a checkpoint folder, in one safetensors file or in several with an index.

    Attributes:
        folder: the checkpoint.
        shapes: of all tensors, by name.

    Raises:
        CheckpointError: a file is missing or damaged; names the file, and the tensor where it is one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._where: dict[str, Path] = {}
        self._current: tuple[Path, Any] | None = None
        self._passed = 0
        for path in weight_paths(folder):
            file = _open(path)
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name in self._where:
                    other = self._where[name].name
                    raise CheckpointError(f"tensor {name} is in {other} and in {path.name}", hint=_AGAIN)
                self._where[name] = path
                self.shapes[name] = tuple(file.get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """Return a tensor backed by the file; it takes no memory of its own until it is written to."""
        path = self._where[name]
        if self._current is None or self._current[0] != path or self._passed > _WINDOW:
            self._current, self._passed = (path, _open(path)), 0
        tensor: Tensor = self._current[1].get_tensor(name)
        self._passed += tensor.nbytes
        return tensor


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint=_AGAIN) from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint=_AGAIN) from error


def weight_paths(folder: Path) -> list[Path]:
    """Return the files that hold a checkpoint's weights.

    Raises:
        CheckpointError: there are none, or their index is damaged.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    path = folder / INDEX
    if not path.is_file():
        raise CheckpointError(f"{folder} holds neither {WEIGHTS} nor {INDEX}", hint=_AGAIN)
    try:
        names = set(read_json(path)["weight_map"].values())
    except (KeyError, AttributeError) as error:
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


def save_tensors(
    folder: Path, parameters: Mapping[str, Tensor], config: ModelConfig, tokenizer: Tokenizer
) -> None:
    """Write a whole model, given as its parameters by name, in our own format.

    Raises:
        CheckpointError: a parameter holds NaN or infinity.
    """
    save_weights(folder / WEIGHTS, parameters)
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")


def save_weights(path: Path, parameters: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file that others may read, if the process lets them.

    Raises:
        CheckpointError: one holds NaN or infinity.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in parameters.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"tensor {name} holds NaN or infinity", hint="look for a diverged run")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)


_BESIDE = (".factors", ".spread", ".input_factor", ".input_zero")


class QuantisedFile:
    """The parameters of a quantised checkpoint, to be read one at a time into torch.

    How they are kept:

    ``NAME.q8``     int8 matrix, transposed, with ``NAME.factors``, one for each output channel
    ``NAME.q4``     bytes of two signed 4-bit numbers each, the first in the low half, with
                    ``NAME.factors``, one for each block of a row
    ``NAME.t``      float16 matrix, transposed
    ``LAYER.spread``, ``LAYER.input_factor``, ``LAYER.input_zero``
                    what a linear layer reads is multiplied by ``spread`` and put into 8 bits; its matrix was
                    divided by ``spread`` before
    Everything else is float32 under the parameter's own name.

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
