"""One vector from the vectors of a text's tokens.

Must not know how they were made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lusifer.config import Pooling


def pool(states: Tensor, mask: Tensor, method: Pooling) -> Tensor:
    """Pool over the unmasked positions, in float32.

    Args:
        states: ``(batch, length, dimensions)``.
        mask: ``(batch, length)``, 1 where a position counts; there may be gaps.
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
    return summed / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
