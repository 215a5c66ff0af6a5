"""Write a trained model: in our own format with LoRA merged, or in the published one with LoRA beside the base.

Knows both formats' names of tensors. Must not know how the model was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SIDES = (
    ("encoder.transformer.", "universal_learner.", ""),
    ("language_model.transformer.", "encoder.", "model."),
)
_REST = (("connector.", "connection_module."), ("projection.", "output_projection."))
_HEAD = {"head.embed.weight": "model.embed_tokens.weight", "head.output.weight": "lm_head.weight"}
_LORA = re.compile(r".*\.lora_[AB]\..*")


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Return the published format's name of each parameter.

    Args:
        names: parameters of a model, wrapped by LoRA or not, with or without a token head; those of a
            training module's ``model.`` are known with that prefix too.
    """
    names = list(names)
    wrapped = {ours: any(ours in name and _LORA.fullmatch(name) for name in names) for ours, _, _ in _SIDES}
    result = {}
    for name in names:
        result[name] = _published(name.removeprefix("model."), wrapped)
    return result


def _published(name: str, wrapped: dict[str, bool]) -> str:
    for ours, theirs, inner in _SIDES:
        prefix = theirs + ("base_model.model." if wrapped[ours] else "")
        if name.startswith(ours):
            return prefix + inner + name.removeprefix(ours)
        if theirs == "encoder." and name in _HEAD:
            return prefix + _HEAD[name]
    for ours, theirs in _REST:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
