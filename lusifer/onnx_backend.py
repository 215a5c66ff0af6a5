"""Run a quantised model with ONNX Runtime: no torch, the vector of a text the same in any batch.

The folder holds ``model.onnx``, the graph without weights, beside ``model.safetensors``, which ONNX Runtime
maps into memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.batching import batches, tokenise
from lusifer.checkpoints.own import GRAPH
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError
from lusifer.static import normalise

#: Tokens in a batch, padding included: more of them leave the cache, fewer leave the cores idle.
_BUDGET = 2048
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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or physical_cores()
        options.inter_op_num_threads = 1
        # Idle threads would otherwise spin, at the cost of whatever else runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
        for batch in batches(rows, _BUDGET):
            result[batch] = self._run([rows[index] for index in batch])
        return normalise(result)

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
