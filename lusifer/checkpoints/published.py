"""Read checkpoints in the published format of LUSIFER (``Hieuman/LUSIFER``).

That format is a state dict of the authors' classes: both backbones, wrapped by LoRA or not, connector and
projection. Base weights come from the checkpoint itself, since they differ from the backbones' own; of the
backbones only configuration and tokenizer are read. Must not know texts, batches or vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lusifer.checkpoints.hub import backbone_file
from lusifer.config import (
    ConnectorConfig,
    EncoderConfig,
    LanguageModelConfig,
    ModelConfig,
    Pooling,
    Prompts,
)
from lusifer.errors import CheckpointError, ConfigError
from lusifer.fields import read_fields

#: The templates of the authors' code; special tokens are spelt out in them, and no others are added.
PROMPTS = Prompts(query="<s>{instruction}.\n{text}</s>", document="<s>{instruction}. Candidate:\n{text}</s>")

#: The authors' code pads to a multiple of this, which is where the added tokens begin.
PADDING = 8
_LONGEST = 512

#: What transformers writes beside a backbone's own settings.
_NOISE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")


@dataclass(frozen=True, slots=True)
class PublishedConfig:
    """What is used of a published ``config.json``; defaults are those of the authors' constructor.

    ``loar_r`` is spelt as it is there; None takes the rank from the weights.
    """

    universal_learner_name_or_path: str
    encoder_name_or_path: str
    universal_learner_backbone_type: str = "xlm-r"
    encoder_backbone_type: str = "mistral"
    connection_type: str = "ff"
    num_added_tokens: int = 0
    pooling_method: Pooling = "mean"
    encoder_lora_name: str | None = "encoder_lora"
    universal_learner_lora_name: str | None = "universal_learner_lora"
    loar_r: int | None = None
    lora_alpha: int = 32

    def __post_init__(self) -> None:
        kinds = (self.universal_learner_backbone_type, self.encoder_backbone_type)
        if kinds != ("xlm-r", "mistral"):
            raise ConfigError(
                f"the backbones are of types {kinds[0]} and {kinds[1]}",
                hint="only xlm-r with mistral can be loaded",
            )
        # The authors' code falls back from "attn" to "ff" when there are no added tokens.
        if self.connection_type != "ff" and (self.connection_type != "attn" or self.num_added_tokens):
            raise ConfigError(f"connection_type is {self.connection_type!r}", hint="only 'ff' can be loaded")


def is_published(data: Mapping[str, Any]) -> bool:
    """Tell whether a ``config.json`` is of the published format."""
    return "universal_learner_name_or_path" in data


def read_published(folder: Path, data: Mapping[str, Any]) -> tuple[PublishedConfig, ModelConfig]:
    """Read a published ``config.json`` and the backbones' configurations it names.

    Fields that only say how the model was trained or run, and unknown ones, are passed over; ``lora_r`` is
    accepted for ``loar_r``.

    Raises:
        ConfigError: a value is of the wrong type, or describes a model that this package has not.
        CheckpointError: a backbone's configuration cannot be found.
    """
    used = {item.name: data[item.name] for item in fields(PublishedConfig) if item.name in data}
    if "lora_r" in data:
        used.setdefault("loar_r", data["lora_r"])
    published = read_fields(PublishedConfig, used)
    inner = read_backbone(folder, published.universal_learner_name_or_path, "xlm-roberta")
    outer = read_backbone(folder, published.encoder_name_or_path, "mistral")
    config = ModelConfig(
        name=folder.name,
        encoder=EncoderConfig.xlm_roberta(inner),
        connector=ConnectorConfig("ff", None, published.num_added_tokens, PADDING),
        language_model=LanguageModelConfig.mistral(outer),
        pooling=published.pooling_method,
        projection=True,
        prompts=PROMPTS,
        max_tokens=longest_input(inner),
    )
    return published, config


def longest_input(encoder: Mapping[str, Any]) -> int:
    """Return how many tokens an XLM-RoBERTa of this configuration reads, 512 at most."""
    # XLM-R numbers its positions from the padding id on.
    positions = int(encoder.get("max_position_embeddings", 514)) - int(encoder.get("pad_token_id", 1)) - 1
    return min(_LONGEST, positions)


def read_backbone(folder: Path, name: str, kind: str) -> dict[str, Any]:
    """Return a backbone's configuration, reduced to what shapes the model.

    Args:
        folder: where else than the working directory to look for it; see ``backbone_file``.
        name: the backbone's folder or hub id.
        kind: what its ``model_type`` must be.

    Raises:
        CheckpointError: it cannot be found or read.
        ConfigError: it is of another kind.
    """
    path = backbone_file(folder, name, "config.json")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}", hint="copy the file again") from error
    found = settings.get("model_type") if isinstance(settings, dict) else None
    if found != kind:
        raise ConfigError(f"{path} describes a model of type {found!r}", hint=f"it must be {kind!r}")
    rope = settings.get("rope_parameters")
    if isinstance(rope, dict) and rope.get("rope_type", "default") == "default" and "rope_theta" in rope:
        # How transformers 5 writes it; every version reads the older form.
        settings = {**settings, "rope_theta": rope["rope_theta"]}
        del settings["rope_parameters"]
    return {key: value for key, value in settings.items() if key not in _NOISE}
