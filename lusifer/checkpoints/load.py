"""Open a checkpoint: recognise its format, build the backend that runs it, take its fingerprint.

Torch is imported for models that need it, and only then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lusifer.checkpoints.own import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    backbone_file,
    checkpoint_folder,
    fingerprint,
    read_config,
    read_json,
)
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import needs_extra
from lusifer.static import StaticTable
from lusifer.tokenization import WordTokenizer, load_tokenizer


class Backend(Protocol):
    """What turns texts into unit vectors."""

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model ready to run."""

    config: ModelConfig
    backend: Backend
    words: WordTokenizer
    fingerprint: str


def is_published(data: Mapping[str, Any]) -> bool:
    """Tell whether a ``config.json`` is of the published format."""
    return "universal_learner_name_or_path" in data


def open_model(
    name: str | Path, device: str | None, dtype: str | None, *, projected: bool = True
) -> OpenModel:
    """Open a checkpoint of either format; arguments and errors as for ``Embedder.load``."""
    folder = checkpoint_folder(name)
    data = read_json(folder / CONFIG)
    if not is_published(data):
        config = read_config(folder)
        if config.folded:
            words = WordTokenizer(load_tokenizer(folder / TOKENIZER))
            table = StaticTable.open(folder, config, words)
            return OpenModel(
                config, table, words, fingerprint(config, [folder / TOKENIZER, folder / WEIGHTS])
            )
    with needs_extra("models", f"The model {name}"):
        from lusifer.checkpoints.published import read_published
        from lusifer.checkpoints.weights import weight_paths
        from lusifer.torch_backend import TorchBackend

    published, path = None, folder / TOKENIZER
    if is_published(data):
        published, config = read_published(folder, data)
        path = backbone_file(folder, published.universal_learner_name_or_path, TOKENIZER)
    if not projected:
        config = replace(config, projection=False)
    tokenizer = load_tokenizer(path)
    backend = TorchBackend.open(folder, config, published, tokenizer, device, dtype)
    digest = fingerprint(config, [path, *weight_paths(folder)])
    return OpenModel(config, backend, WordTokenizer(tokenizer), digest)
