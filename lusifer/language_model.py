"""The embedding language model: a Mistral that sees the whole text from every position.

Must not know where its input vectors come from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import MistralConfig, MistralModel

from lusifer.config import LanguageModelConfig

#: Epsilon of the final RMSNorm of a language model of zero layers.
_EPSILON = 1e-5


class LanguageModel(nn.Module):
    """Input vectors ``(batch, length, dimensions)`` to states of the same shape, after the final RMSNorm.

    Attention is bidirectional and has no sliding window, whatever the configuration says: that is how LUSIFER
    was trained. Token embeddings and output head, which an embedding model never uses, are not built.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.transformer: MistralModel | None = None
        self.norm: nn.RMSNorm | None = None
        if config.layers:
            settings = MistralConfig(**{**config.transformer, "sliding_window": None, "use_cache": False})
            self.transformer = MistralModel(settings)
            del self.transformer.embed_tokens
        elif config.final_norm:
            self.norm = nn.RMSNorm(config.dimensions, eps=_EPSILON)

    def restore_buffers(self) -> None:
        """Compute again what no checkpoint holds, after the module was built without memory."""
        if self.transformer is not None:
            rotary = self.transformer.rotary_emb
            self.transformer.rotary_emb = type(rotary)(self.transformer.config)

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Run a batch; positions count from 0 in every row, masked ones included."""
        if self.transformer is None:
            return inputs if self.norm is None else self.norm(inputs)
        output = self.transformer(
            inputs_embeds=inputs,
            attention_mask=bidirectional_mask(attention_mask, inputs.dtype),
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state
        return states


def bidirectional_mask(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive mask ``(batch, 1, length, length)``: 0 at real keys, the type's minimum elsewhere.

    A mask of four dimensions is taken by transformers as it is, so no triangle is added to it.
    """
    batch, length = attention_mask.shape
    blocked = (attention_mask == 0)[:, None, None, :]
    mask = torch.zeros((batch, 1, 1, length), dtype=dtype, device=attention_mask.device)
    return mask.masked_fill(blocked, torch.finfo(dtype).min).expand(batch, 1, length, length)
