"""Read a sentence-transformers folder with plain transformers: to measure such a model, or to learn from it.

A folder holds a transformer, pooling over its tokens, perhaps normalisation. Vectors are always of unit
length, so that a dot product is a cosine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from lusifer.errors import DataError

_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_KNOWN = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder says of itself.

    Attributes:
        transformer: folder of the transformer and its tokenizer.
        pooling: ``mean`` or ``cls``.
        longest: tokens it reads, special ones included.
        prompts: what goes before questions, and before passages.
    """

    transformer: Path
    pooling: str
    longest: int
    prompts: tuple[str, str]


def read_layout(folder: Path) -> Layout:
    """Read the files that describe a sentence-transformers folder.

    Raises:
        DataError: it cannot be read, or has a part other than transformer, pooling and normalisation.
    """
    parts = {str(part["type"]).rsplit(".", 1)[-1]: folder / part["path"] for part in _modules(folder)}
    strange = sorted(set(parts) - set(_KNOWN))
    if strange or not {"Transformer", "Pooling"} <= set(parts):
        raise DataError(
            f"{folder} is made of {', '.join(parts)}", hint=f"models of {', '.join(_KNOWN)} can be read"
        )
    root = parts["Transformer"]
    longest = int(_json(root / "sentence_bert_config.json").get("max_seq_length") or 512)
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    asked, answered = prompts.get("query", ""), prompts.get("document", prompts.get("passage", ""))
    return Layout(root, _pooling(parts["Pooling"]), longest, (asked, answered))


class SentenceTransformer:
    """A model of the sentence-transformers library.

    Args:
        folder: holds ``modules.json``.
        dtype: number format to compute in.
        longest: texts are cut there, if the model does not cut them before; None for the model's own limit.
        batch: texts in one forward pass.

    Raises:
        DataError: the folder cannot be read, or has a part other than the three above.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: torch.dtype = torch.float32,
        longest: int | None = None,
        batch: int = 64,
    ) -> None:
        layout = read_layout(folder)
        root, self._pooling, self._prompts = layout.transformer, layout.pooling, layout.prompts
        self._longest = min(layout.longest, longest or layout.longest)
        self._batch = batch
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(root, local_files_only=True)
            self._model = AutoModel.from_pretrained(root, local_files_only=True, dtype=dtype).eval()
        except (OSError, ValueError) as error:
            raise DataError(f"the model in {folder} cannot be read: {error}", hint="copy it again") from error
        self.name = folder.resolve().name
        self.dimensions: int = self._model.config.hidden_size
        self.fingerprint = _fingerprint(root)

    def embed_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of questions, ``(len(texts), dimensions)``."""
        return self._embed([self._prompts[0] + text for text in texts])

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of passages, ``(len(texts), dimensions)``."""
        return self._embed([self._prompts[1] + text for text in texts])

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            tokens = self._tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
            hidden = self._model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"][:, :, None].to(hidden.dtype)
            pooled = hidden[:, 0] if self._pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
            vectors[rows] = functional.normalize(pooled, dim=1).numpy()
        return vectors


def _modules(folder: Path) -> list[dict[str, Any]]:
    try:
        modules: list[dict[str, Any]] = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'modules.json'} cannot be read", hint="copy the folder again") from error
    return modules


def _pooling(folder: Path) -> str:
    settings = _json(folder / "config.json")
    chosen = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise DataError(
            f"{folder} pools by {', '.join(chosen) or 'nothing'}",
            hint="models that pool by mean or cls can be read",
        )
    return _POOLINGS[chosen[0]]


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _fingerprint(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "tokenizer.json"]):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
