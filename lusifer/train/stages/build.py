"""Put together what a run trains: backbones, connector, LoRA, and which parameters learn.

Must not know data, losses or processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from lusifer.config import ConnectorConfig, ModelConfig
from lusifer.connector import Connector
from lusifer.errors import ConfigError
from lusifer.language_model import TokenHead
from lusifer.model import Lusifer, build_projection
from lusifer.published import PADDING
from lusifer.train.stages.backbones import open_checkpoint, open_encoder, open_language_model
from lusifer.train.stages.lora import add_lora, set_trainable
from lusifer.train.stages.settings import StageConfig


@dataclass(frozen=True, slots=True)
class Built:
    """A model ready to be trained, on the CPU.

    Attributes:
        model: its parameters require gradients, in float32, where they learn.
        tokenizer: of its encoder.
        head: the language model's token embeddings and output; only where it was asked for.
    """

    model: Lusifer
    tokenizer: Tokenizer
    head: TokenHead | None


def build(config: StageConfig, *, head: bool) -> Built:
    """Load or make every part; new ones depend on the seed only.

    Args:
        config: the run.
        head: whether the language model's token head is needed, as in alignment, where the output
            projection takes no part.

    Raises:
        CheckpointError: a part cannot be found or read.
        ConfigError: the parts do not fit each other, or none of them would learn.
    """
    dtype = torch.bfloat16 if config.hardware.precision == "bf16" else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        built = _assemble(config, dtype, head)
        _choose_what_learns(built, config, projection=config.train.projection and not head)
    if config.hardware.gradient_checkpointing:
        for transformer in (built.model.encoder.transformer, built.model.language_model.transformer):
            if transformer is not None:
                # Its name until transformers 5 was the second.
                enable: Any = getattr(transformer, "activation_checkpointing_enable", None)
                enable = enable or transformer.gradient_checkpointing_enable
                enable({"use_reentrant": False})
    return built


def _assemble(config: StageConfig, dtype: torch.dtype, head: bool) -> Built:
    settings = config.model
    token_head = None
    if settings.start is not None:
        whole = open_checkpoint(settings.start, dtype)
        before = whole.model.config
        longest = _longest(settings.max_tokens, before.max_tokens)
        whole.model.config = replace(before, name=config.name, max_tokens=longest)
        if head:
            assert settings.language_model is not None
            token_head = _head(settings.language_model, dtype, before.dimensions)
        return Built(whole.model, whole.tokenizer, token_head)
    assert settings.encoder is not None
    assert settings.language_model is not None
    inner = open_encoder(settings.encoder, dtype)
    outer = open_language_model(settings.language_model, dtype)
    described = ModelConfig(
        name=config.name,
        encoder=inner.config,
        connector=ConnectorConfig(
            settings.connector,
            settings.connector_hidden,
            settings.added_tokens,
            PADDING if inner.config.kind == "xlm-roberta" else 1,
        ),
        language_model=outer.config,
        pooling=settings.pooling,
        projection=settings.projection,
        prompts=inner.prompts,
        max_tokens=_longest(settings.max_tokens, inner.max_tokens),
    )
    with torch.device("meta"):
        model = Lusifer(described)
    model.encoder, model.language_model = inner.module, outer.module
    model.connector = Connector(described.connector, inner.config.dimensions, described.dimensions)
    if described.projection:
        model.projection = build_projection(described.dimensions)
    if head:
        token_head = outer.head or _head(settings.language_model, dtype, described.dimensions)
    return Built(model, inner.tokenizer, token_head)


def _head(name: str, dtype: torch.dtype, dimensions: int) -> TokenHead:
    head = open_language_model(name, dtype).head
    if head is None:
        raise ConfigError(
            f"model.language_model {name} has no token embeddings and output head",
            hint="name the language model's own folder, not a checkpoint made of it",
        )
    if head.embed.embedding_dim != dimensions:
        raise ConfigError(
            f"model.language_model has {head.embed.embedding_dim} dimensions, model.start {dimensions}",
            hint="name the language model that the checkpoint was made with",
        )
    return head


def _longest(wanted: int | None, possible: int) -> int:
    if wanted is None:
        return possible
    if not 1 <= wanted <= possible:
        raise ConfigError(f"model.max_tokens is {wanted}", hint=f"the encoder takes 1 to {possible}")
    return wanted


def _choose_what_learns(built: Built, config: StageConfig, *, projection: bool) -> None:
    model, train = built.model, config.train
    sides: tuple[tuple[nn.Module, str], ...] = (
        (model.encoder, train.encoder),
        (model.language_model, train.language_model),
    )
    for module, how in sides:
        set_trainable(module, how == "full")
    set_trainable(model.connector, train.connector)
    set_trainable(model.projection, projection)
    set_trainable(built.head, False)
    add_lora(
        model, train.lora, encoder=train.encoder == "lora", language_model=train.language_model == "lora"
    )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("nothing in this model would learn", hint="look at the settings under [train]")


def set_modes(model: Lusifer, config: StageConfig) -> None:
    """Put a model into training mode, but for a frozen encoder, whose dropout would be mere noise.

    A frozen language model stays in it, since gradients pass through it and only then can its layers be
    computed again instead of kept; it has no dropout.
    """
    model.train()
    if config.train.encoder == "frozen":
        model.encoder.eval()
