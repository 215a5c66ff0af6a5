"""Load and save whole models: our own format and the published one, into torch modules.

Must not know texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from lusifer.checkpoints.own import CONFIG, TOKENIZER, WEIGHTS
from lusifer.checkpoints.published import PublishedConfig
from lusifer.checkpoints.published_weights import PublishedWeights
from lusifer.checkpoints.weights import WeightFiles, check_names, check_shape, fill
from lusifer.config import ModelConfig
from lusifer.errors import CheckpointError
from lusifer.model import Lusifer
from lusifer.torch_backend import TorchBackend, choose_device, choose_dtype


def load_model(
    folder: Path,
    config: ModelConfig,
    published: PublishedConfig | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Lusifer:
    """Build a model and fill it, one tensor at a time.

    Args:
        folder: a checkpoint.
        config: what its ``config.json`` describes; without a projection, that of the checkpoint is left out.
        published: its original configuration, when it is in the published format.
        device: where the model goes.
        dtype: number format of its parameters.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape, or a file is damaged.
    """
    with torch.device("meta"):
        model = Lusifer(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    read: Callable[[str], Tensor]
    if published is not None:
        read = PublishedWeights(folder, published, shapes, device).read
    else:
        read = _open_own(folder, shapes, config.projection)
    fill(model, read, device=device, dtype=dtype)
    return model


def open_backend(
    folder: Path,
    config: ModelConfig,
    published: PublishedConfig | None,
    tokenizer: Tokenizer,
    device: str | None,
    dtype: str | None,
) -> tuple[TorchBackend, list[Path]]:
    """Load a model onto a device and make it run on texts; also say which files its weights are in.

    Raises:
        CheckpointError: as ``load_model``.
        ConfigError: there is no such device or dtype.
    """
    where = choose_device(device)
    model = load_model(folder, config, published, where, choose_dtype(dtype, where))
    return TorchBackend(model, tokenizer, where), WeightFiles(folder).paths


def save_model(folder: Path, model: Lusifer, tokenizer: Tokenizer) -> None:
    """Write a whole model in our own format; files of an earlier checkpoint are replaced.

    Raises:
        CheckpointError: a parameter holds NaN or infinity.
    """
    save_tensors(folder, dict(model.named_parameters()), model.config, tokenizer)


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


def _open_own(folder: Path, shapes: dict[str, tuple[int, ...]], projected: bool) -> Callable[[str], Tensor]:
    files = WeightFiles(folder)
    names = set(files)
    extra = names - shapes.keys()
    if not projected:
        extra = {name for name in extra if not name.startswith("projection.")}
    check_names(folder, shapes.keys() - names, extra)
    for name, shape in shapes.items():
        check_shape(folder, name, files.shape(name), shape)
    return files.read
