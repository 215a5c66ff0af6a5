"""Models that run without torch: a table of token vectors, and a quantised transformer.

A token table, a connector and a language model of zero layers treat every token alone, so they fold into one
row per token; a text is the normalised sum of its tokens' rows, made with numpy. A quantised transformer is
run by ONNX Runtime: its folder holds ``model.onnx``, the graph without weights, beside ``model.safetensors``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.checkpoints.own import GRAPH, WEIGHTS, map_tensors
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError, needs_extra
from lusifer.tokenization import Ids, WordTokenizer, batches, tokenise, warn_if_cut

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


#: Tokens in a batch, padding included: more of them leave the cache, fewer leave cores idle.
_BUDGET = 1024
_PAD = 1
_TOPOLOGY = Path("/sys/devices/system/cpu")


class OnnxBackend:
    """A quantised model and its tokenizer.

    Args:
        folder: a checkpoint that holds a graph.
        config: what its ``config.json`` says.
        tokenizer: text to token ids.
        threads: that one call uses; None for as many as ``physical_cores``.

    Raises:
        CheckpointError: graph or weights are damaged, or this version of ONNX Runtime cannot run them.
    """

    def __init__(
        self, folder: Path, config: ModelConfig, tokenizer: Tokenizer, threads: int | None = None
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        with needs_extra("deep", f"The model {config.name}"):
            import onnxruntime

        options = onnxruntime.SessionOptions()
        # A thread for each batch, not several for one: nothing waits, and sums do not depend on their number.
        options.intra_op_num_threads = 1
        self._threads = threads or physical_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises several kinds without a common base
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"{folder / GRAPH} cannot be run: {reason}",
                hint="copy the folder again, or update onnxruntime",
            ) from error

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self._config.dimensions

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]:
        """Return unit vectors, ``(len(texts), dimensions)``, in the order given, each text's its own."""
        rows = tokenise(self._tokenizer, self._config, texts, kind, instruction)
        result = np.zeros((len(rows), self.dimensions), np.float32)
        cut = list(batches(rows, _BUDGET))
        made = self._run_all([[rows[index] for index in batch] for batch in cut])
        for batch, vectors in zip(cut, made, strict=True):
            result[batch] = vectors
        return normalise(result)

    def _run_all(self, parts: list[list[list[int]]]) -> Iterable[NDArray[np.float32]]:
        if len(parts) < 2 or self._threads < 2:
            return map(self._run, parts)
        with ThreadPoolExecutor(min(self._threads, len(parts))) as pool:
            return list(pool.map(self._run, parts))

    def _run(self, rows: list[list[int]]) -> NDArray[np.float32]:
        lengths = np.array([len(row) for row in rows], np.int32)
        ids = np.full((len(rows), int(lengths.max())), _PAD, np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        (pooled,) = self._session.run(None, {"input_ids": ids, "lengths": lengths})
        vectors: NDArray[np.float32] = pooled
        return vectors


def physical_cores() -> int:
    """Return how many cores this process may use, two hardware threads of one core counted once.

    One fewer, if there are several, in a process of lowered priority (``nice``): a core stays free for what
    the user does meanwhile.
    """
    allowed = _allowed()
    siblings = {_siblings(core) for core in allowed}
    count = max(1, len(siblings))
    lowered = hasattr(os, "nice") and os.nice(0) > 0
    return count - 1 if lowered and count > 1 else count


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(core: int) -> str:
    """Return a name of the physical core that a hardware thread belongs to; its own where that is unknown."""
    try:
        return (_TOPOLOGY / f"cpu{core}/topology/thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return str(core)
