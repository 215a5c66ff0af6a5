"""The connector: encoder vectors to language-model inputs, with trainable tokens added to each text.

Must not know the models on its two sides.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lusifer.config import ConnectorConfig

Placement = Literal["text", "batch"]


class Connector(nn.Module):
    """Linear-ReLU-Linear (or nothing), then ``added_tokens`` vectors after each text.

    The reference implementation puts the added tokens after the padding of the batch, which makes the vector
    of a text depend on its neighbours. Here they follow the text itself: ``placement="text"``, at the next
    multiple of ``position_multiple``, which is where the reference puts them for that text alone.
    ``placement="batch"`` reproduces the reference for a padded batch.
    """

    def __init__(self, config: ConnectorConfig, inner: int, outer: int) -> None:
        super().__init__()
        self.ff: nn.Sequential | None = None
        if config.kind == "ff":
            hidden = config.hidden or inner
            self.ff = nn.Sequential(nn.Linear(inner, hidden), nn.ReLU(), nn.Linear(hidden, outer))
        self.added_tokens: nn.Parameter | None = None
        if config.added_tokens:
            self.added_tokens = nn.Parameter(torch.randn(config.added_tokens, outer))
        self._multiple = config.position_multiple

    def forward(
        self, states: Tensor, attention_mask: Tensor, placement: Placement = "text"
    ) -> tuple[Tensor, Tensor]:
        """Carry a batch over.

        Args:
            states: ``(batch, length, inner)``.
            attention_mask: ``(batch, length)``, ones first.
            placement: where the added tokens go.

        Returns:
            Language-model inputs ``(batch, longer, outer)`` and their mask.
        """
        if self.ff is not None:
            states = self.ff(states)
        if self.added_tokens is None:
            return states, attention_mask
        batch, length, width = states.shape
        count = len(self.added_tokens)
        if placement == "batch":
            starts = attention_mask.new_full((batch,), length)
        else:
            lengths = attention_mask.sum(dim=1)
            starts = -(-lengths // self._multiple) * self._multiple
        longer = max(length, int(starts.max()) + count)
        rows = torch.arange(batch, device=states.device)[:, None]
        places = starts[:, None] + torch.arange(count, device=states.device)
        extended = torch.cat([states, states.new_zeros(batch, longer - length, width)], dim=1)
        extended = extended.index_put((rows, places), self.added_tokens.to(states.dtype))
        mask = torch.cat([attention_mask, attention_mask.new_zeros(batch, longer - length)], dim=1)
        one = torch.ones((), dtype=mask.dtype, device=mask.device)
        return extended, mask.index_put((rows, places), one)
