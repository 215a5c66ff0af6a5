"""Show an Embedder to mteb as one of its encoders.

Fulfils mteb's ``EncoderProtocol`` by shape. Must not know tasks, subsets or scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import Array, BatchedInput, PromptType
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lusifer.embedder import Embedder


class BenchmarkEncoder:
    """An embedder under one instruction.

    As in the authors' evaluation, documents of retrieval and reranking get the document prompt and everything
    else the query prompt, both with the instruction; a model whose prompts take none goes without.

    Args:
        embedder: the model.
        device: where similarities are computed.

    Attributes:
        instruction: what the model is asked to do; set it for each task.
    """

    def __init__(self, embedder: Embedder, device: str = "cpu") -> None:
        self.instruction = ""
        self._embedder = embedder
        self._device = device
        self._meta = ModelMeta.create_empty(
            {
                "name": f"lusifer/{embedder.name}",
                "revision": embedder.fingerprint,
                "embed_dim": embedder.dimensions,
                "max_tokens": embedder.max_tokens,
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb wants to know about the model."""
        return self._meta

    def encode(
        self, inputs: DataLoader[BatchedInput], *, prompt_type: PromptType | None = None, **_task: Any
    ) -> NDArray[np.float32]:
        """Return unit vectors, (texts, dimensions); mteb's batches are joined, the model has its own."""
        texts = [text for batch in inputs for text in batch["text"]]
        prompts = self._embedder.config.prompts
        if prompt_type == PromptType.document:
            instruction = self.instruction if prompts.takes_instruction("document") else ""
            return self._embedder.embed_documents(texts, instruction)
        instruction = self.instruction if prompts.takes_instruction("query") else ""
        return self._embedder.embed_query(texts, instruction)

    def similarity(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Return cosines, shape (n, m), on the device; the vectors have unit length."""
        first = torch.as_tensor(embeddings1, device=self._device)
        second = torch.as_tensor(embeddings2, device=self._device)
        # mteb compares single vectors too.
        width = first.shape[-1]
        return first.reshape(-1, width) @ second.reshape(-1, width).T

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Return the cosines of corresponding rows, shape (n,), in main memory, where mteb reads them."""
        first, second = torch.as_tensor(embeddings1), torch.as_tensor(embeddings2)
        return (first * second).sum(-1)
