"""Say in a few characters what made a model's vectors: configuration, tokenizer and weights.

Must not know how any of them is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lusifer.config import ModelConfig

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
