"""A model folded into one table of token vectors: text in, unit vectors out, with numpy and no torch.

A token table, a connector and a language model of zero layers treat every token alone, so they fold into one
row per token, and a text is the normalised sum of its tokens' rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lusifer.checkpoints.own import WEIGHTS, map_tensors
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError
from lusifer.tokenization import Ids, WordTokenizer, warn_if_cut

#: Texts tokenised at once: bounds memory, and keeps every core of the tokenizer busy.
_BLOCK = 1024


class StaticTable:
    """The folded model.

    Args:
        config: what the table is a fold of.
        table: one row per token, ``(vocabulary, dimensions)``, int8 or floating point.
        scale: factor of each row, ``(vocabulary,)``; None for 1.
        words: text to token ids.
    """

    def __init__(
        self,
        config: ModelConfig,
        table: NDArray[Any],
        scale: NDArray[Any] | None,
        words: WordTokenizer,
    ) -> None:
        self.config = config
        self._words = words
        self._table = table
        rows = len(table)
        self._scale = np.ones(rows, np.float32) if scale is None else np.asarray(scale, np.float32)

    @classmethod
    def open(cls, folder: Path, config: ModelConfig, words: WordTokenizer) -> StaticTable:
        """Map the table of a checkpoint folder into memory.

        Raises:
            CheckpointError: a tensor is missing, misshapen or of a type the format does not allow.
        """
        path = folder / WEIGHTS
        tensors = map_tensors(path)
        shape = (config.encoder.vocabulary, config.dimensions)
        table = _tensor(path, tensors, "table", shape, (np.int8, np.float16, np.float32))
        scale = None
        if table.dtype == np.int8 or "scale" in tensors:
            scale = _tensor(path, tensors, "scale", shape[:1], (np.float16, np.float32))
        extra = sorted(tensors.keys() - {"table", "scale"})
        if extra:
            raise CheckpointError(f"{path} holds the unknown tensor {extra[0]}", hint="copy the folder again")
        pieces = words.tokenizer.get_vocab_size()
        if pieces > shape[0]:
            raise CheckpointError(
                f"{folder / 'tokenizer.json'} has {pieces} pieces, the table {shape[0]} rows",
                hint="tokenizer and weights belong to different models; copy the folder again",
            )
        return cls(config, table, scale, words)

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return int(self._table.shape[1])

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]:
        """Return unit vectors, ``(len(texts), dimensions)``, in the order given.

        A text whose tokens carry nothing gets the fixed vector of ``normalise``.
        """
        result = np.empty((len(texts), self.dimensions), np.float32)
        prompts, longest, trimmed = self.config.prompts, self.config.max_tokens, 0
        for start in range(0, len(texts), _BLOCK):
            block = [prompts.render(kind, text, instruction) for text in texts[start : start + _BLOCK]]
            rows = self._words(block)
            trimmed += sum(len(ids) > longest for ids in rows)
            rows = [ids[:longest] for ids in rows]
            if self.config.repeats == 1:
                for row, ids in enumerate(rows, start):
                    self._sum(ids, self._scale.take(ids), result[row])
            else:
                for row, (ids, counts) in enumerate(_distinct(rows), start):
                    weights = self._scale.take(ids) * counts**self.config.repeats
                    self._sum(ids, weights, result[row])
        warn_if_cut(trimmed, longest)
        return normalise(result)

    def _sum(self, ids: Ids, weights: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the weighed sum of the tokens' rows; one matrix-vector product: no text can touch another."""
        np.dot(weights, self._table.take(ids, axis=0).astype(np.float32), out=out)


def _distinct(rows: list[Ids]) -> list[tuple[Ids, NDArray[np.float32]]]:
    """Return the distinct ids of each text, ascending, and how often it has each; sorted all at once."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    keys = np.repeat(np.arange(len(rows)) << 32, lengths)
    keys += np.concatenate(rows) if rows else keys
    unique, counts = np.unique(keys, return_counts=True)
    bounds = np.searchsorted(unique, np.arange(1, len(rows)) << 32)
    ids = (unique & 0xFFFFFFFF).astype(np.int32)
    return list(zip(np.split(ids, bounds), np.split(counts.astype(np.float32), bounds), strict=True))


def _tensor(
    path: Path, tensors: dict[str, NDArray[Any]], name: str, shape: tuple[int, ...], types: tuple[type, ...]
) -> NDArray[Any]:
    tensor = tensors.get(name)
    if tensor is None:
        raise CheckpointError(f"{path} lacks the tensor {name}", hint="copy or download the file again")
    if tensor.shape != shape:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {list(tensor.shape)}, config.json wants {list(shape)}",
            hint="weights and config.json belong to different models; copy the folder again",
        )
    if tensor.dtype not in types:
        names = ", ".join(np.dtype(kind).name for kind in types)
        raise CheckpointError(
            f"{path}: tensor {name} has type {tensor.dtype}", hint=f"expected one of {names}"
        )
    return tensor


def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows ``(n, dimensions)`` to unit length, in place, and return them.

    A row of zeros, as a text without tokens has, becomes ``1/sqrt(dimensions)`` in every place: a fixed
    direction that is close to no text in particular, and never NaN.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    empty = ~(norms > 1e-12)
    rows[empty], norms[empty] = 1.0, np.sqrt(np.float32(rows.shape[1]))
    rows /= norms[:, None]
    return rows
