"""One vector from the vectors of a text's tokens.

Must not know how they were made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lusifer.config import Pooling


def damp_repeats(input_ids: Tensor, mask: Tensor, power: float) -> Tensor:
    """Weigh positions so that a token met n times in its text counts n**power times in all.

    Args:
        input_ids: ``(batch, length)``.
        mask: ``(batch, length)``, 1 at tokens.
        power: 0 to 1.

    Returns:
        float32, ``(batch, length)``, 0 where the mask is.
    """
    same = (input_ids[:, :, None] == input_ids[:, None, :]) & mask[:, None, :].bool()
    return mask.float() * same.sum(dim=2).clamp_min(1).float() ** (power - 1)


def pool(states: Tensor, mask: Tensor, method: Pooling) -> Tensor:
    """Pool over the unmasked positions, in float32.

    Args:
        states: ``(batch, length, dimensions)``.
        mask: ``(batch, length)``, 1 where a position counts; there may be gaps. For ``mean``, any weights.
        method: ``mean``; ``weightedmean``, each position weighted by its rank among those that count;
            ``lasttoken``, the last that counts; ``cls``, position 0.

    Returns:
        ``(batch, dimensions)``.
    """
    if method == "cls":
        return states[:, 0].float()
    if method == "lasttoken":
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * places).argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), last].float()
    weights = mask.float()
    if method == "weightedmean":
        weights = weights * weights.cumsum(dim=1)
    summed = torch.bmm(weights[:, None, :], states.float())[:, 0]
    return summed / weights.sum(dim=1, keepdim=True).clamp_min(1e-6)
