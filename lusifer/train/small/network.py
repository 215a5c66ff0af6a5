"""The model that is trained: the source's encoder, a connector that passes all on at first, mean pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lusifer.config import ConnectorConfig, EncoderConfig, LanguageModelConfig, ModelConfig, Prompts
from lusifer.model import Lusifer
from lusifer.train.small.source import Source

NAME = "lusifer-small"
#: What multilingual-e5 was trained with; special tokens are spelt out.
PROMPTS = Prompts(query="<s>query: {text}</s>", document="<s>passage: {text}</s>")
_LONGEST = 512


def build_config(transformer: dict[str, Any], *, connector: bool = True) -> ModelConfig:
    """Return the configuration of a model around an encoder."""
    width = int(transformer["hidden_size"])
    rows = int(transformer["max_position_embeddings"]) - int(transformer["pad_token_id"]) - 1
    return ModelConfig(
        name=NAME,
        encoder=EncoderConfig.xlm_roberta(transformer),
        language_model=LanguageModelConfig(width),
        connector=ConnectorConfig("ff", 2 * width) if connector else ConnectorConfig(),
        prompts=PROMPTS,
        max_tokens=min(_LONGEST, rows),
    )


def build_model(source: Source, *, connector: bool = True) -> Lusifer:
    """Return a model that gives what the source's encoder gives with mean pooling, ready to be trained.

    Args:
        source: the encoder.
        connector: False for the bare encoder, which teaches.
    """
    config = build_config(source.transformer, connector=connector)
    # Attention as plain products: in bfloat16 on a CPU several times as fast to train as the fused kind.
    model = Lusifer(config)
    if model.encoder.transformer is not None:
        model.encoder.transformer.set_attn_implementation("eager")
    parameters = {name: torch.from_numpy(value) for name, value in source.parameters.items()}
    if connector:
        parameters |= _passing(config.dimensions)
    model.load_state_dict(parameters, strict=True)
    return model


def _passing(width: int) -> dict[str, torch.Tensor]:
    """Return connector weights that pass every vector on: x is relu(x) - relu(-x)."""
    one = torch.eye(width)
    return {
        "connector.ff.0.weight": torch.cat([one, -one]),
        "connector.ff.0.bias": torch.zeros(2 * width),
        "connector.ff.2.weight": torch.cat([one, -one], dim=1),
        "connector.ff.2.bias": torch.zeros(width),
    }


def to_arrays(model: Lusifer) -> dict[str, NDArray[np.float32]]:
    """Return a model's parameters by name, in float32."""
    return {name: value.detach().float().cpu().numpy() for name, value in model.named_parameters()}
