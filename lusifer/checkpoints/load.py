"""Open a checkpoint: recognise its format, build the backend that runs it, take its fingerprint.

Imports torch only for models that need it. Must not know texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.checkpoints.hub import checkpoint_folder
from lusifer.checkpoints.own import CONFIG, TOKENIZER, WEIGHTS, fingerprint, read_config
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError
from lusifer.static import Ids, StaticTable, WordTokenizer
from lusifer.tokenization import load_tokenizer


class Backend(Protocol):
    """What turns texts into unit vectors."""

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]: ...


class Words(Protocol):
    """What turns texts into token ids."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def __call__(self, texts: Sequence[str]) -> list[Ids]: ...


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model ready to run."""

    config: ModelConfig
    backend: Backend
    words: Words
    fingerprint: str


def open_model(
    name: str | Path, device: str | None, dtype: str | None, *, projected: bool = True
) -> OpenModel:
    """Open a checkpoint of either format; arguments and errors as for ``Embedder.load``."""
    folder = checkpoint_folder(name)
    data = _read_json(folder / CONFIG)
    # The published format has no "format" field; ours always has.
    if "universal_learner_name_or_path" in data:
        return _open_published(folder, data, device, dtype, projected)
    config = read_config(folder)
    tokenizer = load_tokenizer(folder / TOKENIZER)
    if config.folded:
        words = WordTokenizer(tokenizer)
        backend = StaticTable.open(folder, config, words)
        mark = fingerprint(config, [folder / TOKENIZER, folder / WEIGHTS])
        return OpenModel(config, backend, words, mark)

    from lusifer.checkpoints.torch_weights import open_backend

    if not projected:
        config = replace(config, projection=False)
    whole, paths = open_backend(folder, config, None, tokenizer, device, dtype)
    mark = fingerprint(config, [folder / TOKENIZER, *paths])
    return OpenModel(config, whole, WordTokenizer(tokenizer), mark)


def _open_published(
    folder: Path, data: dict[str, Any], device: str | None, dtype: str | None, projected: bool
) -> OpenModel:
    from lusifer.checkpoints.hub import backbone_file
    from lusifer.checkpoints.published import read_published
    from lusifer.checkpoints.torch_weights import open_backend

    published, config = read_published(folder, data)
    if not projected:
        config = replace(config, projection=False)
    path = backbone_file(folder, published.universal_learner_name_or_path, TOKENIZER)
    tokenizer = load_tokenizer(path)
    backend, paths = open_backend(folder, config, published, tokenizer, device, dtype)
    return OpenModel(config, backend, WordTokenizer(tokenizer), fingerprint(config, [path, *paths]))


def _read_json(path: Path) -> dict[str, Any]:
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
