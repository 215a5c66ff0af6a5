"""The embedding language model: a Mistral that sees the whole text from every position, or a BERT.

Must not know where its input vectors come from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MistralConfig, MistralModel

from lusifer.config import LanguageModelConfig
from lusifer.encoder import restore_positions
from lusifer.errors import ConfigError

#: Epsilon of the final RMSNorm of a language model of zero layers.
_EPSILON = 1e-5


class LanguageModel(nn.Module):
    """Input vectors ``(batch, length, dimensions)`` to states of the same shape, after the final norm.

    A Mistral's attention has no sliding window, whatever the configuration says: that is how LUSIFER was
    trained. A BERT adds its positions to what it reads. Token embeddings and output head, which an embedding
    model never uses, are not built; :class:`TokenHead` holds them where they are needed.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.transformer: MistralModel | BertModel | None = None
        self.norm: nn.RMSNorm | None = None
        if config.kind == "bert":
            self.transformer = BertModel(BertConfig(**config.transformer), add_pooling_layer=False)
            del self.transformer.embeddings.word_embeddings
        elif config.layers:
            settings = MistralConfig(**{**config.transformer, "sliding_window": None, "use_cache": False})
            self.transformer = MistralModel(settings)
            del self.transformer.embed_tokens
        elif config.final_norm:
            self.norm = nn.RMSNorm(config.dimensions, eps=_EPSILON)

    def restore_buffers(self) -> None:
        """Compute again what no checkpoint holds, after the module was built without memory."""
        if isinstance(self.transformer, BertModel):
            restore_positions(self.transformer.embeddings)
        elif self.transformer is not None:
            rotary = self.transformer.rotary_emb
            self.transformer.rotary_emb = type(rotary)(self.transformer.config)

    def forward(self, inputs: Tensor, attention_mask: Tensor, *, causal: bool = False) -> Tensor:
        """Run a batch; positions count from 0 in every row, masked ones included.

        Args:
            inputs: ``(batch, length, dimensions)``.
            attention_mask: ``(batch, length)``, 1 where a position may be looked at.
            causal: whether a position sees only itself and those before it. Embeddings are always made
                without; alignment has a variant with.

        Raises:
            ConfigError: a BERT was asked to be causal.
        """
        if self.transformer is None:
            return inputs if self.norm is None else self.norm(inputs)
        if isinstance(self.transformer, BertModel):
            if causal:
                raise ConfigError("a BERT has no causal form", hint="align with causal = false")
            read: Tensor = self.transformer(
                inputs_embeds=inputs, attention_mask=attention_mask
            ).last_hidden_state
            return read
        output = self.transformer(
            inputs_embeds=inputs,
            attention_mask=additive_mask(attention_mask, _computed_in(inputs), causal=causal),
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state
        return states


class TokenHead(nn.Module):
    """A language model's token embeddings and output head: what alignment reads and predicts tokens with."""

    def __init__(self, vocabulary: int, dimensions: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dimensions)
        self.output = nn.Linear(dimensions, vocabulary, bias=False)


def additive_mask(attention_mask: Tensor, dtype: torch.dtype, *, causal: bool = False) -> Tensor:
    """Return the additive mask ``(batch, 1, length, length)``: 0 where a query sees a key, else the minimum.

    A mask of four dimensions is taken by transformers as it is, so no triangle is added to it. A query that
    sees no key at all weighs every key alike, as in the authors' code, and never gives NaN.
    """
    batch, length = attention_mask.shape
    blocked = (attention_mask == 0)[:, None, None, :]
    if causal:
        blocked = blocked | torch.ones(length, length, dtype=torch.bool, device=blocked.device).triu(1)
    mask = torch.zeros(blocked.shape, dtype=dtype, device=blocked.device)
    return mask.masked_fill_(blocked, torch.finfo(dtype).min).expand(batch, 1, length, length)


def _computed_in(inputs: Tensor) -> torch.dtype:
    """Return the type attention runs in: autocast's where it is on, whose range must hold the mask."""
    kind = inputs.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
