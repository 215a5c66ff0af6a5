"""Open a checkpoint: recognise its format, build the backend that runs it, take its fingerprint.

Torch is imported for models that need it, and only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lusifer.checkpoints.own import (
    CONFIG,
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    checkpoint_folder,
    fingerprint,
    is_published,
    read_config,
    read_json,
)
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import needs_extra
from lusifer.static import OnnxBackend, StaticTable
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


def open_model(
    name: str | Path, device: str | None, dtype: str | None, *, projected: bool = True
) -> OpenModel:
    """Open a checkpoint of either format; arguments and errors as for ``Embedder.load``."""
    folder = checkpoint_folder(name)
    if not is_published(read_json(folder / CONFIG)):
        config = read_config(folder)
        if config.folded:
            words = WordTokenizer(load_tokenizer(folder / TOKENIZER))
            table = StaticTable.open(folder, config, words)
            digest = fingerprint(config, [folder / TOKENIZER, folder / WEIGHTS])
            return OpenModel(config, table, words, digest)
        if (folder / GRAPH).is_file() and device in (None, "cpu") and dtype is None and projected:
            return _open_quantised(folder, config)
    with needs_extra("models", f"The model {name}"):
        from lusifer.torch_backend import TorchBackend

    backend, files = TorchBackend.open(folder, device, dtype, projected=projected)
    config = backend.model.config
    return OpenModel(config, backend, WordTokenizer(backend.tokenizer), fingerprint(config, files))


def _open_quantised(folder: Path, config: ModelConfig) -> OpenModel:
    words = WordTokenizer(load_tokenizer(folder / TOKENIZER))
    files = [folder / TOKENIZER, folder / WEIGHTS, folder / GRAPH]
    return OpenModel(config, OnnxBackend(folder, config, words.tokenizer), words, fingerprint(config, files))
