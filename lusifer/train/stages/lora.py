"""Low-rank updates (LoRA) of the two backbones: put in with peft, and merged into the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lusifer.errors import ConfigError
from lusifer.model import Lusifer
from lusifer.train.stages.settings import LoraSettings

#: Adapter names of the published checkpoint.
ENCODER_ADAPTER, LANGUAGE_MODEL_ADAPTER = "universal_learner_lora", "encoder_lora"
#: What "all" linear layers are in each backbone; a BERT has the encoder's. XLM-R's pooler is not built.
_ENCODER_TARGETS = ["query", "key", "value", "dense"]
_LANGUAGE_MODEL_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_PART = re.compile(r"(.+)\.(base_layer|lora_[AB]\.\w+)\.(weight|bias)")


def add_lora(model: Lusifer, settings: LoraSettings, *, encoder: bool, language_model: bool) -> None:
    """Wrap the linear layers of one backbone or both; only the updates of a wrapped one stay trainable.

    The updates are float32 even where the backbone is not, as in peft for models it knows.

    Raises:
        ConfigError: the side to wrap is no transformer.
    """
    for wanted, side, transformer, targets, adapter in (
        (encoder, "encoder", model.encoder.transformer, _ENCODER_TARGETS, ENCODER_ADAPTER),
        (
            language_model,
            "language_model",
            model.language_model.transformer,
            _LANGUAGE_MODEL_TARGETS if model.config.language_model.kind == "mistral" else _ENCODER_TARGETS,
            LANGUAGE_MODEL_ADAPTER,
        ),
    ):
        if not wanted:
            continue
        if transformer is None:
            raise ConfigError(
                f"the {side} has no linear layers that LoRA could update",
                hint=f"set train.{side} to 'full' or 'frozen'",
            )
        _inject(transformer, settings, targets, adapter)


def _inject(transformer: nn.Module, settings: LoraSettings, targets: list[str], adapter: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
    )
    inject_adapter_in_model(config, transformer, adapter)
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()


def merge(tensors: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Return the tensors of a wrapped model under the names of a bare one, with the updates added.

    Updates are added in float32 and rounded once, to the type of the base.

    Args:
        tensors: parameters by name, wrapped or not.
        settings: what the wrapped ones were made with.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _PART.fullmatch(name)
        owner, part = (f"{found[1]}.{found[3]}", found[2][:6]) if found else (name, "base_l")
        parts.setdefault(owner, {})[part] = tensor
    merged = {}
    for name, owned in parts.items():
        base = owned["base_l"]
        if "lora_A" in owned:
            update = owned["lora_B"].float() @ owned["lora_A"].float()
            base = base.float().add(update, alpha=settings.alpha / settings.rank).to(base.dtype)
        merged[name] = base
    return merged


def set_trainable(module: nn.Module | None, wanted: bool) -> None:
    """Turn gradients of a module's parameters on, which makes them float32, or off."""
    for parameter in module.parameters() if module is not None else ():
        if wanted:
            parameter.data = parameter.data.to(torch.float32)
        parameter.requires_grad_(wanted)
