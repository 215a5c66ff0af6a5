"""The tensors of a published checkpoint under the names of :class:`~lusifer.model.Lusifer`, LoRA merged in.

Knows the key layout: with and without LoRA wrapping, any adapter name, any set of wrapped modules. Must not
know how the model computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lusifer.checkpoints.published import PublishedConfig
from lusifer.checkpoints.weights import WeightFiles, check_names, check_shape
from lusifer.errors import CheckpointError

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
        keys = [item for item in map(_parse, self._files) if item is not None]
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
                rank = self._rank or files.shape(parts[f"{prefix}A"])[0]
                wanted |= {f"{prefix}A": (rank, wide[1]), f"{prefix}B": (wide[0], rank)}
        for part, key in parts.items():
            check_shape(files.folder, key, files.shape(key), wanted[part])


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
