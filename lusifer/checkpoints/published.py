"""Read checkpoints in the published format of LUSIFER (``Hieuman/LUSIFER``).

That format is a state dict of the authors' classes: both backbones, wrapped by LoRA or not, connector and
projection. Base weights come from the checkpoint itself, since they differ from the backbones' own; of the
backbones only configuration and tokenizer are read. The first half of this file reads the configuration, the
second finds the model's parameters among the tensors, with and without LoRA wrapping, and merges LoRA in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lusifer.checkpoints.own import CONFIG, backbone_file, read_json
from lusifer.checkpoints.weights import WeightFiles, check_names, check_shape
from lusifer.config import (
    ConnectorConfig,
    EncoderConfig,
    LanguageModelConfig,
    ModelConfig,
    Pooling,
    Prompts,
    configuration,
    parse,
)
from lusifer.errors import CheckpointError, ConfigError

#: The templates of the authors' code; special tokens are spelt out in them, and no others are added.
PROMPTS = Prompts(query="<s>{instruction}.\n{text}</s>", document="<s>{instruction}. Candidate:\n{text}</s>")

#: The authors' code pads to a multiple of this, which is where the added tokens begin.
PADDING = 8
_LONGEST = 512

#: What transformers writes beside a backbone's own settings.
_NOISE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")


@configuration
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
    published = parse(PublishedConfig, used)
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
    path = backbone_file(folder, name, CONFIG)
    settings = read_json(path)
    found = settings.get("model_type")
    if found != kind:
        raise ConfigError(f"{path} describes a model of type {found!r}", hint=f"it must be {kind!r}")
    rope = settings.get("rope_parameters")
    if isinstance(rope, dict) and rope.get("rope_type", "default") == "default" and "rope_theta" in rope:
        # How transformers 5 writes it; every version reads the older form.
        settings = {**settings, "rope_theta": rope["rope_theta"]}
        del settings["rope_parameters"]
    return {key: value for key, value in settings.items() if key not in _NOISE}


#: Part of the state dict but never of an embedding: XLM-R's pooler, the language model's own token embeddings
#: and output head, and buffers that older versions of transformers saved.
_UNUSED = re.compile(
    r"universal_learner\.pooler\..*|encoder\.lm_head\..*|encoder\.model\.embed_tokens\..*"
    r"|.*\.(?:position_ids|token_type_ids|inv_freq)"
)
_WRAPPED = re.compile(r"^(universal_learner|encoder)\.base_model\.model\.")
_LORA = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B)\.([^.]+?)(?:\.weight)?")
_OWN = (
    ("universal_learner.", "encoder.transformer."),
    ("encoder.model.", "language_model.transformer."),
    ("connection_module.", "connector."),
    ("output_projection.", "projection."),
)


@dataclass(frozen=True, slots=True)
class _Key:
    """One tensor of the file: which parameter it belongs to, and as what.

    Attributes:
        key: its name in the file.
        name: the parameter's name in the model.
        part: ``base``, or the half of a LoRA update: ``A``, ``B``, ``embedding_A``, ``embedding_B``.
        adapter: the update's adapter, as ``side/name``; empty for a base.
    """

    key: str
    name: str
    part: str = "base"
    adapter: str = ""


class PublishedWeights:
    """Checks a published checkpoint against a model's parameters, then reads them one by one.

    Args:
        folder: the checkpoint.
        published: its configuration.
        shapes: the model's parameters by name.
        device: where LoRA is merged.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape; named as the file names it.
    """

    def __init__(
        self,
        folder: Path,
        published: PublishedConfig,
        shapes: Mapping[str, tuple[int, ...]],
        device: torch.device,
    ) -> None:
        self._files = WeightFiles(folder)
        self._alpha, self._rank, self._device = published.lora_alpha, published.loar_r, device
        keys = [item for item in map(_parse, self._files.shapes) if item is not None]
        used = _choose_adapters(folder, keys, published)
        self._parts: dict[str, dict[str, str]] = {}
        # Projection or added tokens that the model was built without are left out, as its authors do.
        left_out = {part for part in ("connector.added_tokens", "projection") if not _has(shapes, part)}
        extra = set()
        for item in keys:
            if item.name in shapes and (not item.adapter or item.adapter in used):
                self._parts.setdefault(item.name, {})[item.part] = item.key
            elif not any(_has([item.name], part) for part in left_out):
                extra.add(item.key)
        missing = {gap for name in shapes for gap in _gaps(name, self._parts.get(name, {}))}
        check_names(folder, missing, extra)
        for name, shape in shapes.items():
            self._check_shapes(self._parts[name], shape)

    def read(self, name: str) -> Tensor:
        """Return a parameter: as stored, or ``W + alpha/r * B A`` in float32 where there is an update."""
        parts = self._parts[name]
        base = self._files.read(parts["base"])
        for prefix in ("", "embedding_"):
            if f"{prefix}A" in parts:
                down, up = (
                    self._files.read(parts[prefix + side]).to(self._device, torch.float32) for side in "AB"
                )
                update = (up @ down).T if prefix else up @ down
                base = base.to(self._device, torch.float32, copy=True)
                base.add_(update, alpha=self._alpha / len(down))
        return base

    def _check_shapes(self, parts: Mapping[str, str], shape: tuple[int, ...]) -> None:
        files = self._files
        wanted = {"base": shape}
        for prefix, wide in (("", shape), ("embedding_", shape[::-1])):
            if f"{prefix}A" in parts:
                rank = self._rank or files.shapes[parts[f"{prefix}A"]][0]
                wanted |= {f"{prefix}A": (rank, wide[1]), f"{prefix}B": (wide[0], rank)}
        for part, key in parts.items():
            check_shape(files.folder, key, files.shapes[key], wanted[part])


def _has(names: Iterable[str], part: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for name in names)


def _parse(key: str) -> _Key | None:
    """Tell what a tensor of the file is; None for what no embedding needs."""
    plain = _WRAPPED.sub(r"\1.", key)
    update = _LORA.fullmatch(plain)
    module = f"{update[1]}.weight" if update else plain.replace(".base_layer.", ".")
    if _UNUSED.fullmatch(module):
        return None
    name = module
    for theirs, ours in _OWN:
        if module.startswith(theirs):
            name = ours + module.removeprefix(theirs)
            break
    if update is None:
        return _Key(key, name)
    return _Key(key, name, update[2], f"{module.partition('.')[0]}/{update[3]}")


def _choose_adapters(folder: Path, keys: list[_Key], published: PublishedConfig) -> set[str]:
    """Return the adapter of each side: the one configured, or the only one there."""
    chosen = set()
    for side, configured in (
        ("universal_learner", published.universal_learner_lora_name),
        ("encoder", published.encoder_lora_name),
    ):
        names = {item.adapter for item in keys if item.adapter.startswith(f"{side}/")}
        wanted = f"{side}/{configured}"
        if len(names) > 1 and wanted not in names:
            raise CheckpointError(
                f"{folder} holds the adapters {', '.join(sorted(names))}",
                hint=f"name one of them as {side}_lora_name in config.json",
            )
        chosen |= {wanted} if wanted in names else names
    return chosen


def _gaps(name: str, parts: Mapping[str, str]) -> set[str]:
    """Return what a parameter lacks, named as near to the file's way as can be told."""
    gaps = set()
    if "base" not in parts:
        theirs = name
        for original, ours in _OWN:
            if name.startswith(ours):
                theirs = original + name.removeprefix(ours)
        gaps.add(theirs)
    for one, other in (("A", "B"), ("B", "A")):
        for prefix in ("", "embedding_"):
            if prefix + one in parts and prefix + other not in parts:
                gaps.add(parts[prefix + one].replace(f".lora_{prefix}{one}.", f".lora_{prefix}{other}."))
    return gaps
