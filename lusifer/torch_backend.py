"""Load a model into torch and run it on texts: prompts, tokens, batches by length, unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.checkpoints.own import (
    CONFIG,
    GRAPH,
    TOKENIZER,
    backbone_file,
    is_published,
    read_config,
    read_json,
)
from lusifer.checkpoints.published import PublishedWeights, read_published
from lusifer.checkpoints.weights import (
    QuantisedFile,
    WeightFiles,
    check_names,
    check_shape,
    fill,
    weight_paths,
)
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import ConfigError
from lusifer.model import Lusifer, pad
from lusifer.static import normalise
from lusifer.tokenization import batches, load_tokenizer, tokenise

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Tokens in a batch, padding included.
_BUDGET = {"cpu": 4096, "mps": 8192, "cuda": 32768}


def choose_device(name: str | None) -> torch.device:
    """Return the device asked for; None takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device {name!r}", hint="use cpu, cuda, cuda:1 or mps") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(f"device {name} is not available here", hint="use cpu, or install its driver")
    return device


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """Return the number format asked for; None takes float32 on a CPU and bfloat16 elsewhere.

    Raises:
        ConfigError: it is not one a model can run in.
    """
    if name is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in _DTYPES:
        raise ConfigError(f"there is no dtype {name!r}", hint=f"use one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole model, its encoder's tokenizer, and the files that make its vectors."""

    model: Lusifer
    tokenizer: Tokenizer
    files: list[Path]


def load_checkpoint(
    folder: Path, device: torch.device, dtype: torch.dtype, *, projected: bool = True
) -> Checkpoint:
    """Load a checkpoint of either format, LoRA merged in, one tensor at a time.

    Args:
        folder: the checkpoint.
        device: where the model goes.
        dtype: number format of its parameters.
        projected: False leaves the output projection out.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape, or a file is damaged.
        ConfigError: the configuration describes no model, or one that this package has not.
    """
    data = read_json(folder / CONFIG)
    published, path = None, folder / TOKENIZER
    if is_published(data):
        published, config = read_published(folder, data)
        path = backbone_file(folder, published.universal_learner_name_or_path, TOKENIZER)
    else:
        config = read_config(folder)
    tokenizer = load_tokenizer(path)
    with torch.device("meta"):
        model = Lusifer(config if projected else replace(config, projection=False))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if published is not None:
        read = PublishedWeights(folder, published, shapes, device).read
    else:
        read = _own_weights(folder, shapes, projected).read
    fill(model, read, device=device, dtype=dtype)
    return Checkpoint(model, tokenizer, [path, *weight_paths(folder)])


def _own_weights(
    folder: Path, shapes: dict[str, tuple[int, ...]], projected: bool
) -> WeightFiles | QuantisedFile:
    """Open the weights of a checkpoint of our own format, which must be those of the model."""
    files = QuantisedFile(folder) if (folder / GRAPH).is_file() else WeightFiles(folder)
    names = files.shapes.keys()
    extra = {name for name in names - shapes.keys() if projected or not name.startswith("projection.")}
    check_names(folder, shapes.keys() - names, extra)
    for name, shape in shapes.items():
        check_shape(folder, name, files.shapes[name], shape)
    return files


class TorchBackend:
    """A model, its tokenizer and the device they run on.

    Args:
        model: in evaluation mode from here on.
        tokenizer: text to token ids.
        device: where ``model`` is.
    """

    def __init__(self, model: Lusifer, tokenizer: Tokenizer, device: torch.device) -> None:
        self.model = model.eval()
        self.device = device
        self.tokenizer = tokenizer
        self._config: ModelConfig = model.config

    @classmethod
    def open(
        cls, folder: Path, device: str | None, dtype: str | None, *, projected: bool = True
    ) -> tuple[TorchBackend, list[Path]]:
        """Load a checkpoint onto a device; also say which files make its vectors.

        Raises:
            CheckpointError: as ``load_checkpoint``.
            ConfigError: as there, or there is no such device or dtype.
        """
        where = choose_device(device)
        whole = load_checkpoint(folder, where, choose_dtype(dtype, where), projected=projected)
        return cls(whole.model, whole.tokenizer, where), whole.files

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self._config.dimensions

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]:
        """Return unit vectors, ``(len(texts), dimensions)``, in the order given, each text's its own."""
        rows = self.tokenise(texts, kind, instruction)
        result = np.zeros((len(rows), self.dimensions), np.float32)
        for batch in batches(rows, _BUDGET.get(self.device.type, _BUDGET["cpu"]), multiple=8):
            result[batch] = self._run([rows[index] for index in batch])
        return normalise(result)

    def tokenise(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> list[list[int]]:
        """Return the token ids the model reads: prompt included, cut at the end, not padded."""
        return tokenise(self.tokenizer, self._config, texts, kind, instruction)

    @torch.inference_mode()
    def _run(self, rows: list[list[int]]) -> NDArray[np.float32]:
        ids, mask = pad(rows, self.model.encoder.pad_id)
        output = self.model(ids.to(self.device), mask.to(self.device))
        reps: NDArray[np.float32] = output.reps.float().cpu().numpy()
        return reps
