"""Write and read checkpoint folders of our own format: config.json, model.safetensors, tokenizer.json.

Folded tables here, without torch; whole models through ``lusifer.model``. Must not know training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from tokenizers import Tokenizer

from lusifer.config import ModelConfig
from lusifer.errors import CheckpointError, ConfigError

# Say in a few characters what made a model's vectors: configuration, tokenizer and weights.


_WHOLE = 64 << 20
_SAMPLES, _SAMPLE = 256, 4096


def fingerprint(config: ModelConfig, files: Iterable[Path]) -> str:
    """Return 16 hexadecimal digits that change whenever the model's vectors could.

    Fields of the configuration that vectors do not depend on (``name``, ``calibration``) do not count, nor
    does the number format it is computed in.

    Args:
        config: the model.
        files: its tokenizer and weights. One of more than 64 MiB is known by its size, its first 64 KiB (for
            a safetensors file the start of the header) and 256 evenly spread blocks of 4 KiB, since hashing
            16 GB would take longer than loading it: any training step changes all of those.
    """
    described = config.to_dict()
    del described["name"], described["calibration"]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for path in files:
        _add_file(digest, path)
    return digest.hexdigest()[:16]


def _add_file(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        if size <= _WHOLE:
            while block := file.read(1 << 20):
                digest.update(block)
            return
        digest.update(file.read(1 << 16))
        for index in range(_SAMPLES):
            file.seek((size - _SAMPLE) * index // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))


CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"

Quantisation = Literal["int8", "float16"]


def read_config(folder: Path) -> ModelConfig:
    """Read ``config.json`` of a folder in our format.

    Raises:
        CheckpointError: the file cannot be read.
        ConfigError: it does not describe a model; the message names file and field.
    """
    path = folder / CONFIG
    try:
        return ModelConfig.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", hint="check the folder") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8", hint="copy the file again") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def quantise_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row symmetrically to int8.

    Returns:
        The rows ``(vocabulary, dimensions)`` in -127..127 and the factor of each, ``(vocabulary,)``.
    """
    scale = np.abs(table).max(axis=1) / np.float32(127)
    safe = np.where(scale > 0, scale, np.float32(1))
    return np.rint(table / safe[:, None]).astype(np.int8), scale.astype(np.float32)


def write_static(
    folder: Path,
    table: NDArray[np.float32],
    tokenizer: Tokenizer,
    config: ModelConfig,
    quantise: Quantisation | None = "int8",
) -> None:
    """Write a folded model: one row per token id of the tokenizer.

    Args:
        folder: made if missing; files of an earlier checkpoint are replaced.
        table: float32 ``(vocabulary, dimensions)``; row norms are the tokens' weights.
        tokenizer: its ids index the rows.
        config: a model that can be folded; written with ``folded`` set.
        quantise: ``int8`` with a factor per row, ``float16``, or None for float32.

    Raises:
        CheckpointError: the table does not fit the configuration or holds NaN or infinity.
        ConfigError: the configuration describes a model that cannot be folded.
    """
    config = replace(config, folded=True)
    wanted = (config.encoder.vocabulary, config.dimensions)
    if table.shape != wanted:
        raise CheckpointError(
            f"the table has shape {table.shape}, the configuration says {wanted}", hint="make them agree"
        )
    if not np.isfinite(table).all():
        raise CheckpointError("the table holds NaN or infinity", hint="look for a diverged training run")
    table = np.ascontiguousarray(table, np.float32)
    tensors: dict[str, NDArray[Any]]
    if quantise == "int8":
        rows, scale = quantise_rows(table)
        tensors = {"table": rows, "scale": scale}
    else:
        tensors = {"table": table.astype(np.float16) if quantise == "float16" else table}
    folder.mkdir(parents=True, exist_ok=True)
    # Not save_file, which leaves a file that only its owner can read.
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "np"}))
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
