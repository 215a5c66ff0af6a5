"""Alignment: the language model must say a text that it is given only through encoder and connector.

The forward pass of stage 1 (arXiv 2501.00874, section 3.1), as the authors' code has it. Must not know texts,
optimisers or processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lusifer.language_model import TokenHead
from lusifer.model import Lusifer
from lusifer.train.losses import IGNORED, next_token_loss


@dataclass(frozen=True, slots=True)
class AlignmentBatch:
    """What one forward pass reads; all ``(batch, length)`` int64, lengths differ between the two sides.

    Attributes:
        input_ids: the source text in the encoder's tokens, padded on the right.
        attention_mask: 1 at its tokens.
        lm_input_ids: the target text in the language model's tokens, some of them masked.
        lm_attention_mask: which of those may be looked at.
        labels: the tokens to predict, ``IGNORED`` at padding; None for ``lm_input_ids`` as they are.
    """

    input_ids: Tensor
    attention_mask: Tensor
    lm_input_ids: Tensor
    lm_attention_mask: Tensor
    labels: Tensor | None

    def rows(self, chosen: slice, device: torch.device) -> AlignmentBatch:
        """Return some rows of it on a device, with the padding they have."""
        labels = None if self.labels is None else self.labels[chosen].to(device)
        ids, mask, lm_ids, lm_mask = (
            tensor[chosen].to(device)
            for tensor in (self.input_ids, self.attention_mask, self.lm_input_ids, self.lm_attention_mask)
        )
        return AlignmentBatch(ids, mask, lm_ids, lm_mask, labels)


class AlignmentModel(nn.Module):
    """A :class:`~lusifer.model.Lusifer` with the token head its language model lacks.

    The language model reads ``<s>``, then the connector's output (padding and added tokens included), then
    the rest of the target; where a target does not begin with ``<s>``, connector output and target.

    Args:
        model: its projection takes no part.
        head: token embeddings and output of the language model.
        bos_id: the language model's ``<s>``.
        causal: whether the language model sees only what came before (figure 1 of the paper, and the
            authors' code until October 2024), or everything that is not masked (their code since).
    """

    def __init__(self, model: Lusifer, head: TokenHead, *, bos_id: int, causal: bool) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self._bos_id = bos_id
        self._causal = causal

    def forward(self, batch: AlignmentBatch) -> tuple[Tensor, Tensor]:
        """Return the summed loss of a batch in nats, and over how many tokens."""
        labels = batch.lm_input_ids if batch.labels is None else batch.labels
        encoded = self.model.encoder(batch.input_ids, batch.attention_mask)
        # As the authors do in this stage, added tokens follow the batch's padding; the target follows them.
        carried, mask = self.model.connector(encoded, batch.attention_mask, "batch")
        tokens = self.head.embed(batch.lm_input_ids).to(carried.dtype)
        first = int(bool((labels[:, 0] == self._bos_id).all()))
        ignored = labels.new_full(mask.shape, IGNORED)
        inputs = torch.cat([tokens[:, :first], carried, tokens[:, first:]], dim=1)
        looked_at = batch.lm_attention_mask
        mask = torch.cat([looked_at[:, :first], mask, looked_at[:, first:]], dim=1)
        targets = torch.cat([labels[:, :first], ignored, labels[:, first:]], dim=1)
        states = self.model.language_model(inputs, mask, causal=self._causal)
        return next_token_loss(states, targets, self.head.output)
