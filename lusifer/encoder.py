"""The universal encoder: token ids to contextual vectors; XLM-RoBERTa, or a bare token table.

Must not know what reads its output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaModel

from lusifer.config import EncoderConfig


class UniversalEncoder(nn.Module):
    """Token ids ``(batch, length)`` to vectors ``(batch, length, dimensions)``.

    The vectors are the last layer's hidden states; XLM-RoBERTa normalises after each layer, so nothing
    follows. Its pooler, which LUSIFER never reads, is not built.

    Attributes:
        pad_id: token id that fills up shorter texts.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.table: nn.Embedding | None = None
        self.transformer: XLMRobertaModel | None = None
        if config.kind == "token_table":
            self.table = nn.Embedding(config.vocabulary, config.dimensions)
            self.pad_id = 0
        else:
            settings = XLMRobertaConfig(**config.transformer)
            self.transformer = XLMRobertaModel(settings, add_pooling_layer=False)
            self.pad_id = settings.pad_token_id or 0

    def restore_buffers(self) -> None:
        """Compute again what no checkpoint holds, after the module was built without memory."""
        if self.transformer is None:
            return
        restore_positions(self.transformer.embeddings)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode a batch; ``attention_mask`` is 1 at tokens and 0 at padding."""
        if self.table is not None:
            vectors: Tensor = self.table(input_ids)
            return vectors
        assert self.transformer is not None
        output = self.transformer(input_ids=input_ids, attention_mask=attention_mask)
        states: Tensor = output.last_hidden_state
        return states


def restore_positions(embeddings: nn.Module) -> None:
    """Compute again the buffers of a BERT-like embedding layer that was built without memory."""
    table = embeddings.get_submodule("position_embeddings")
    assert isinstance(table, nn.Embedding)
    positions = torch.arange(table.num_embeddings).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)
    types = torch.zeros((1, table.num_embeddings), dtype=torch.long)
    embeddings.register_buffer("token_type_ids", types, persistent=False)


def pad(rows: list[list[int]], pad_id: int, multiple: int = 8) -> tuple[Tensor, Tensor]:
    """Fill rows of token ids up on the right to the longest, rounded up to a multiple.

    Returns:
        Ids and attention mask, both int64 ``(len(rows), length)``.
    """
    longest = max(map(len, rows))
    length = -(-longest // multiple) * multiple
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = 1
    return ids, mask
