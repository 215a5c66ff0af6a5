"""Write a trained model: in our own format with LoRA merged, or in the published one with LoRA apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from lusifer.checkpoints.own import CONFIG, TOKENIZER, WEIGHTS
from lusifer.checkpoints.published import PADDING, PROMPTS, longest_input
from lusifer.checkpoints.weights import save_tensors, save_weights
from lusifer.config import ModelConfig
from lusifer.errors import ConfigError
from lusifer.train.stages.model import ENCODER_ADAPTER, LANGUAGE_MODEL_ADAPTER, merge_lora
from lusifer.train.stages.settings import StageConfig

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


def check_publishable(config: ModelConfig) -> None:
    """Refuse a model that the published format cannot describe.

    Raises:
        ConfigError: names what it has no place for.
    """
    encoder, connector = config.encoder, config.connector
    for wrong, what in (
        (encoder.kind != "xlm-roberta", f"an encoder of kind {encoder.kind}"),
        (config.language_model.layers == 0, "a language model of no layers"),
        (config.language_model.kind != "mistral", f"a language model of kind {config.language_model.kind}"),
        (connector.kind != "ff", f"a connector of kind {connector.kind}"),
        (
            connector.hidden not in (None, encoder.dimensions),
            "a connector of a width of its own",
        ),
        (bool(connector.added_tokens) and connector.position_multiple != PADDING, "other added tokens"),
        (not config.projection, "a model without a projection"),
        (config.prompts != PROMPTS, "other prompts"),
    ):
        if wrong:
            raise ConfigError(
                f"the published format has no place for {what}", hint="set output.format to 'lusifer'"
            )
    longest = longest_input(encoder.transformer)
    if config.max_tokens != longest:
        raise ConfigError(
            f"the published format has no place for max_tokens = {config.max_tokens}",
            hint=f"set output.format to 'lusifer', or leave model.max_tokens out ({longest})",
        )


def write_model(
    folder: Path,
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    settings: StageConfig,
) -> None:
    """Write a trained model as a folder that ``Embedder.load`` reads.

    Args:
        folder: made if missing.
        parameters: those of the training module, by name.
        config: of the model.
        tokenizer: of its encoder.
        settings: of the run: the format, and what LoRA was made with.

    Raises:
        CheckpointError: a parameter holds NaN or infinity.
    """
    if settings.output.format == "published":
        _write_published(folder, parameters, config, tokenizer, settings)
        return
    own = {
        name.removeprefix("model."): tensor
        for name, tensor in parameters.items()
        if not name.startswith("head.")
    }
    save_tensors(folder, merge_lora(own, settings.train.lora), config, tokenizer)


def _write_published(
    folder: Path,
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    settings: StageConfig,
) -> None:
    names = published_names(parameters)
    save_weights(folder / WEIGHTS, {names[name]: tensor for name, tensor in parameters.items()})
    backbones = {"universal_learner": "backbones/xlm-roberta", "encoder": "backbones/mistral"}
    for side, kind, transformer in (
        ("universal_learner", "xlm-roberta", config.encoder.transformer),
        ("encoder", "mistral", config.language_model.transformer),
    ):
        place = folder / backbones[side]
        place.mkdir(parents=True, exist_ok=True)
        _write_json(place / CONFIG, {**transformer, "model_type": kind})
    tokenizer.save(str(folder / backbones["universal_learner"] / TOKENIZER), pretty=False)
    train, lora = settings.train, settings.train.lora
    described = {
        "attn_implementation": "sdpa",
        "connection_type": "ff",
        "dropout": lora.dropout,
        "encoder_backbone_type": "mistral",
        "encoder_lora_name": LANGUAGE_MODEL_ADAPTER if train.language_model == "lora" else None,
        "encoder_lora_target_modules": "all",
        "encoder_name_or_path": backbones["encoder"],
        "is_freeze_encoder": train.language_model != "full",
        "is_freeze_universal_learner": train.encoder == "frozen",
        "loar_r": lora.rank,
        "lora_alpha": lora.alpha,
        "num_added_tokens": config.connector.added_tokens,
        "pooling_method": config.pooling,
        "universal_learner_backbone_type": "xlm-r",
        "universal_learner_lora_name": ENCODER_ADAPTER if train.encoder == "lora" else None,
        "universal_learner_lora_target_modules": "all",
        "universal_learner_name_or_path": backbones["universal_learner"],
    }
    _write_json(folder / CONFIG, described)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
