"""Checkpoint folders: found here or on the Hugging Face Hub, read, told apart, written in our own format.

Our format is config.json, model.safetensors and tokenizer.json. Nothing here needs torch: tensors are arrays
that the file backs, and what is written is a folded table. Whole models are written by ``weights``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tokenizers import Tokenizer

from lusifer.config import ModelConfig
from lusifer.errors import CheckpointError, CheckpointMissing, ConfigError

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
#: Beside the weights of a quantised model: how ONNX Runtime runs them.
GRAPH = "model.onnx"

Quantisation = Literal["int8", "float16"]

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "|i1", "U8": "|u1"}


def checkpoint_folder(name: str | Path) -> Path:
    """Return the folder of a checkpoint, downloading it when it is named by a hub id.

    Raises:
        CheckpointMissing: no such folder, or the hub cannot be reached.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or not _REPOSITORY.fullmatch(name):
        raise CheckpointMissing(
            f"there is no model folder {name}", hint="give a checkpoint's folder, or a hub id like owner/name"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # of the network, the disk or the hub
        raise _not_fetched(name, error) from error


def backbone_file(checkpoint: Path, backbone: str, filename: str) -> Path:
    """Return a file of a backbone that a checkpoint's configuration names.

    The name is a folder (absolute, or relative to the working directory, the checkpoint or the folder it is
    in) or a hub id.

    Raises:
        CheckpointError: the file is in no such place.
    """
    candidates = [Path(backbone), checkpoint / backbone, checkpoint.parent / backbone]
    for folder in candidates:
        if (folder / filename).is_file():
            return folder / filename
    if any(folder.is_dir() for folder in candidates) or not _REPOSITORY.fullmatch(backbone):
        raise CheckpointError(
            f"{filename} of the backbone {backbone} was not found",
            hint=f"put it into {checkpoint / backbone}",
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(backbone, filename))
    except Exception as error:  # of the network, the disk or the hub
        raise _not_fetched(backbone, error, checkpoint / backbone / filename) from error


def _not_fetched(name: str, error: Exception, place: Path | None = None) -> CheckpointMissing:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    where = f" (here: {place})" if place else ""
    return CheckpointMissing(
        f"{name} is no folder here and could not be fetched from the Hugging Face Hub: {reason}",
        hint=f"where there is a network run `hf download {name} --local-dir FOLDER`, then give FOLDER{where}",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", hint="give the folder of a complete checkpoint"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="copy the file again") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a JSON object", hint="copy the file again")
    return data


def is_published(data: Mapping[str, Any]) -> bool:
    """Tell whether a ``config.json`` is of the published format."""
    return "universal_learner_name_or_path" in data


def read_config(folder: Path) -> ModelConfig:
    """Read ``config.json`` of a folder in our format.

    Raises:
        CheckpointError: the file cannot be read.
        ConfigError: it does not describe a model; the message names file and field.
    """
    path = folder / CONFIG
    try:
        return ModelConfig.from_dict(read_json(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file as read-only arrays backed by it, through the page cache.

    Raises:
        CheckpointError: the file is missing or damaged, or holds a type that numpy has not (bfloat16).
    """
    try:
        with safe_open(path, framework="numpy"):
            pass  # what the header claims is checked here, against the file's size too
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
        data = np.memmap(path, np.uint8, "r", offset=8 + length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint="copy the file again") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="copy the file again") from error
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _NUMPY:
            raise CheckpointError(
                f"{path}: tensor {name} has type {entry['dtype']}",
                hint=f"expected one of {', '.join(_NUMPY)}",
            )
        start, stop = entry["data_offsets"]
        tensors[name] = data[start:stop].view(_NUMPY[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def read_table(folder: Path) -> NDArray[np.float32]:
    """Return a folded model's rows, float32 ``(vocabulary, dimensions)``; raises as ``map_tensors`` does."""
    tensors = map_tensors(folder / WEIGHTS)
    table = np.asarray(tensors["table"], np.float32)
    return table * np.asarray(tensors["scale"], np.float32)[:, None] if "scale" in tensors else table


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
