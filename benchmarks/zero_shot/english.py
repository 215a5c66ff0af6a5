"""The English side of the experiment: a sentence-transformers BERT, read through our language model class.

It is at once what is measured before, what alignment imitates, and what the connector's output goes into.
Must not know the multilingual encoder or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lusifer.checkpoints.published import read_backbone
from lusifer.config import LanguageModelConfig
from lusifer.errors import ConfigError
from lusifer.sentence_transformers import read_layout
from lusifer.model import LanguageModel, pad, pool
from lusifer.tokenization import encode, load_tokenizer
from lusifer.train.stages.model import pretrained

#: Tokens in a batch, padding included.
_BUDGET = 4096
_UNKNOWN = "[UNK]"


class EnglishModel(nn.Module):
    """An English embedding model: word pieces, BERT, mean pooling.

    Args:
        folder: a sentence-transformers folder.
        device: where it runs.

    Attributes:
        config: of its BERT.
        pieces: its word-piece embeddings, ``(pieces, dimensions)``.
        reader: its BERT without them.
        longest: tokens it reads, special ones included.

    Raises:
        DataError: the folder cannot be read.
        ConfigError: it is no BERT, does not pool by the mean, or wants prompts.
        CheckpointError: a tensor is missing.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import BertModel

        super().__init__()
        layout = read_layout(folder)
        if layout.pooling != "mean" or any(layout.prompts):
            raise ConfigError(
                f"{folder} pools by {layout.pooling}, with prompts {layout.prompts}",
                hint="name a model that pools by the mean and takes no prompts",
            )
        name = str(layout.transformer)
        self.config = LanguageModelConfig.bert(read_backbone(Path(), name, "bert"))
        bert = pretrained(BertModel, name, dtype=torch.float32, add_pooling_layer=False)
        self.pieces: nn.Embedding = bert.embeddings.word_embeddings
        del bert.embeddings.word_embeddings
        with torch.device("meta"):
            self.reader = LanguageModel(self.config)
        self.reader.transformer = bert
        self.tokenizer = load_tokenizer(layout.transformer / "tokenizer.json")
        self.longest = min(layout.longest, bert.config.max_position_embeddings)
        self.name, self._device = "/".join(folder.resolve().parts[-2:]), device
        self.requires_grad_(False).eval().to(device)

    @property
    def edges(self) -> tuple[int, int]:
        """Ids of the pieces before and after each text.

        Raises:
            ConfigError: the tokenizer has none.
        """
        begin, end = (self.tokenizer.token_to_id(piece) for piece in ("[CLS]", "[SEP]"))
        if begin is None or end is None:
            raise ConfigError(f"the tokenizer of {self.name} has no [CLS] and [SEP]", hint="name another")
        return begin, end

    @property
    def unknown(self) -> int | None:
        """Id of the piece that stands for what the tokenizer does not know."""
        found: int | None = self.tokenizer.token_to_id(_UNKNOWN)
        return found

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors, float32 ``(len(texts), dimensions)``, on the CPU."""
        begin, end = self.edges
        rows = [[begin, *found.ids[: self.longest - 2], end] for found in encode(self.tokenizer, list(texts))]
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        result = torch.empty(len(rows), self.config.dimensions)
        start = 0
        while start < len(order):
            batch = order[start : start + max(1, _BUDGET // len(rows[order[start]]))]
            ids, mask = (tensor.to(self._device) for tensor in pad([rows[row] for row in batch], 0))
            pooled = pool(self.reader(self.pieces(ids), mask), mask, "mean")
            result[batch] = functional.normalize(pooled.float(), dim=1).cpu()
            start += len(batch)
        return result

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of passages."""
        vectors: NDArray[np.float32] = self.embed(texts).numpy()
        return vectors

    def embed_query(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of questions, made as those of passages."""
        return self.embed_documents(texts)
