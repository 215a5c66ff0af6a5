"""LUSIFER: universal encoder, connector, bidirectional language model, pooling, output projection.

Token ids in, one vector per text out (arXiv 2501.00874). Must not know tokenizers, prompts or checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lusifer.config import ModelConfig
from lusifer.connector import Connector, Placement
from lusifer.encoder import UniversalEncoder
from lusifer.errors import ConfigError
from lusifer.language_model import LanguageModel
from lusifer.pooling import damp_repeats, pool


@dataclass(frozen=True, slots=True)
class Output:
    """Everything a forward pass makes, ``(batch, ...)``.

    Attributes:
        encoder_states: ``(batch, length, encoder dimensions)``.
        inputs: what the language model reads, added tokens included, ``(batch, longer, dimensions)``.
        mask: which of those positions count, ``(batch, longer)``.
        states: the language model's output, shaped as ``inputs``.
        pooled: ``(batch, dimensions)``; what the authors' code returned until March 2025.
        reps: after the output projection (the same as ``pooled`` for models without one); not normalised.
            Which of the two the paper's numbers were made with is unknown.
    """

    encoder_states: Tensor
    inputs: Tensor
    mask: Tensor
    states: Tensor
    pooled: Tensor
    reps: Tensor


class Lusifer(nn.Module):
    """The model a :class:`~lusifer.config.ModelConfig` describes, freshly initialised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.dimensions
        self.encoder = UniversalEncoder(config.encoder)
        self.connector = Connector(config.connector, config.encoder.dimensions, width)
        self.language_model = LanguageModel(config.language_model)
        self.projection: nn.Sequential | None = None
        if config.projection:
            self.projection = build_projection(width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, placement: Placement = "text") -> Output:
        """Embed a batch.

        Args:
            input_ids: ``(batch, length)``, filled up on the right with the encoder's ``pad_id``.
            attention_mask: ``(batch, length)``, 1 at tokens.
            placement: where added tokens go; see :class:`~lusifer.connector.Connector`.
        """
        encoded = self.encoder(input_ids, attention_mask)
        inputs, mask = self.connector(encoded, attention_mask, placement)
        states = self.language_model(inputs, mask)
        power = self.config.repeats
        weights = mask if power == 1 else damp_repeats(input_ids, attention_mask, power)
        pooled = pool(states, weights, self.config.pooling)
        reps = pooled
        if self.projection is not None:
            kind = next(self.projection.parameters()).dtype
            reps = self.projection(pooled.to(kind)).float()
        return Output(encoded, inputs, mask, states, pooled, reps)


def build_projection(width: int) -> nn.Sequential:
    """Return a new output projection: Linear-ReLU-Linear, all of one width."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


@torch.no_grad()
def fold(model: Lusifer) -> Tensor:
    """Return the table that a per-token model amounts to, float32 ``(vocabulary, dimensions)``.

    The normalised sum of a text's rows, repeated ones weighed as ``config.repeats`` says, is then the
    normalised output of the model.

    Raises:
        ConfigError: the model's tokens depend on each other, so there is no such table.
    """
    if not model.config.per_token or model.encoder.table is None:
        raise ConfigError(
            f"{model.config.name} cannot be folded into a table",
            hint="only a token table with zero layers, mean pooling and no projection can",
        )
    rows = model.encoder.table.weight[:, None, :]
    mask = torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device)
    inputs, mask = model.connector(rows, mask)
    table: Tensor = model.language_model(inputs, mask)
    return table[:, 0].float()
