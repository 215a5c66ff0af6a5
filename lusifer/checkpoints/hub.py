"""Find checkpoints and backbones: as folders here, or by their name on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from lusifer.errors import CheckpointError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def checkpoint_folder(name: str | Path) -> Path:
    """Return the folder of a checkpoint, downloading it when it is named by a hub id.

    Raises:
        CheckpointError: no such folder, or the hub cannot be reached.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or not _REPOSITORY.fullmatch(name):
        raise CheckpointError(
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


def _not_fetched(name: str, error: Exception, place: Path | None = None) -> CheckpointError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    where = f" (here: {place})" if place else ""
    return CheckpointError(
        f"{name} is no folder here and could not be fetched from the Hugging Face Hub: {reason}",
        hint=f"where there is a network run `hf download {name} --local-dir FOLDER`, then give FOLDER{where}",
    )
