"""What one run of a training stage is: every setting, read from one TOML file.

Knows names and ranges; docs/training.md explains them. Must not know how any of it is carried out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from lusifer.config import Pooling
from lusifer.errors import ConfigError
from lusifer.fields import read_fields
from lusifer.train.losses import ContrastiveLoss, Similarity
from lusifer.train.stages.lora import LoraSettings

#: Ready configurations.
CONFIGS = Path(__file__).parents[1] / "configs"

How = Literal["frozen", "lora", "full"]
Task = Literal["reconstruct", "passage_to_query", "query_to_passage"]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What the run starts from: a checkpoint, or two backbones with a new connector between them.

    Attributes:
        start: checkpoint folder or hub id, of an earlier stage for one; the fields down to ``projection``
            are then its own, except that alignment still takes ``language_model``'s token head.
        encoder: folder or hub id of an XLM-RoBERTa, or of a checkpoint whose encoder is taken;
            ``lusifer-mini`` is the shipped token table.
        language_model: folder or hub id of a Mistral of any depth, or (for finetuning) of a checkpoint.
        connector: ``ff``, or ``identity`` where both sides have one width.
        connector_hidden: width inside the connector; None is the encoder's.
        added_tokens: trainable vectors after each text.
        pooling: how token vectors become one.
        projection: whether the output projection is there.
        max_tokens: longer texts are cut; None is the most the encoder can take, 512 at most.
        mask_token: what masked target tokens become.
    """

    start: str | None = None
    encoder: str | None = None
    language_model: str | None = None
    connector: Literal["ff", "identity"] = "ff"
    connector_hidden: int | None = None
    added_tokens: int = 1
    pooling: Pooling = "mean"
    projection: bool = True
    max_tokens: int | None = None
    mask_token: str = "<unk>"  # noqa: S105

    def __post_init__(self) -> None:
        if self.start is None and (self.encoder is None or self.language_model is None):
            raise ConfigError(
                "model names nothing to start from", hint="set model.start, or encoder and language_model"
            )
        if self.start is not None and self.encoder is not None:
            raise ConfigError("model.start and model.encoder are both set", hint="keep one of them")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Which parts learn, and how: ``frozen``, ``lora`` or ``full``. Connector and projection learn or not."""

    encoder: How = "lora"
    language_model: How = "frozen"
    connector: bool = True
    projection: bool = True
    lora: LoraSettings = field(default_factory=LoraSettings)


@dataclass(frozen=True, slots=True)
class AlignmentSettings:
    """Stage 1.

    Attributes:
        mask_probability: share of the target's tokens that are masked, and of positions not looked at.
        causal: the paper's variant; false is the authors' code since October 2024.
        micro_batch: texts in one forward pass on one process.
    """

    mask_probability: float = 0.5
    causal: bool = True
    micro_batch: int = 8

    def __post_init__(self) -> None:
        _within("alignment.mask_probability", self.mask_probability, 0, 1)
        _within("alignment.micro_batch", self.micro_batch, 1)


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """Stage 2.

    Attributes:
        similarity: ``l2`` (the authors') or ``cosine``.
        temperature: of the loss.
        negatives: ``shared``, every text of the batch on every process, or ``own``, an example's own only.
        mining: keep only hard pairs among shared ones.
        positives: of each example, drawn anew each time.
        hard_negatives: likewise.
        chunk: texts in one forward pass on one process, by GradCache; 0 is all in one, without it.
    """

    similarity: Similarity = "l2"
    temperature: float = 0.05
    negatives: Literal["shared", "own"] = "shared"
    mining: bool = False
    positives: int = 1
    hard_negatives: int = 7
    chunk: int = 32

    def __post_init__(self) -> None:
        _within("finetune.positives", self.positives, 1)
        _within("finetune.hard_negatives", self.hard_negatives, 0 if self.negatives == "shared" else 1)
        _within("finetune.chunk", self.chunk, 0)
        if self.temperature <= 0:
            raise ConfigError(f"finetune.temperature is {self.temperature}", hint="use more than 0")

    @property
    def loss(self) -> ContrastiveLoss:
        """The loss these settings describe."""
        return ContrastiveLoss(self.similarity, self.temperature, self.mining)


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """AdamW, a linear rise, a cosine down; defaults are the paper's for stage 1 (table 3).

    Attributes:
        batch: examples in a step, over all processes.
        epochs: times over the data.
        steps: end earlier; None for all epochs.
        learning_rate: at its peak.
        min_learning_rate: where it begins and ends.
        warmup: share of the steps in which it rises.
        clip: largest norm of the gradient; 0 for no limit.
    """

    batch: int = 256
    epochs: int = 1
    steps: int | None = None
    learning_rate: float = 1.5e-4
    min_learning_rate: float = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "steps"):
            value = getattr(self, name)
            if value is not None:
                _within(f"optimiser.{name}", value, 1)
        for name in ("learning_rate", "min_learning_rate", "weight_decay", "clip"):
            _within(f"optimiser.{name}", getattr(self, name), 0)
        for name in ("warmup", "beta1", "beta2"):
            _within(f"optimiser.{name}", getattr(self, name), 0, 1)


@dataclass(frozen=True, slots=True)
class HardwareSettings:
    """How the run uses the machine; results depend on it only through rounding.

    Attributes:
        device: ``cpu`` or ``cuda``; None takes the best there is.
        precision: ``bf16`` keeps what is frozen in bfloat16, computes in it, and learns in float32.
        gradient_checkpointing: compute layers again in the backward pass, to save memory.
        parallel: what several processes do: ``ddp`` each hold the model, ``fsdp2`` share it.
    """

    device: Literal["cpu", "cuda"] | None = None
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    parallel: Literal["ddp", "fsdp2"] = "ddp"


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What a run leaves in its folder.

    Attributes:
        format: ``lusifer``, LoRA merged, or ``published``, the layout of Hieuman/LUSIFER.
        log_every: steps between lines of the log.
        checkpoint_every: steps between checkpoints; the last step always makes one.
        keep: checkpoints kept.
        trackers: accelerate's names of what else the log goes to: trackio, wandb, tensorboard.
    """

    format: Literal["lusifer", "published"] = "lusifer"
    log_every: int = 10
    checkpoint_every: int = 500
    keep: int = 2
    trackers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every", "keep"):
            _within(f"output.{name}", getattr(self, name), 1)


@dataclass(frozen=True, slots=True)
class DataSettings:
    """One file of examples.

    Attributes:
        path: JSON Lines.
        task: what alignment makes of its records; finetuning does not ask.
        limit: only so many records from the top; None for all.
    """

    path: str
    task: Task = "reconstruct"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None:
            _within("data.limit", self.limit, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One run of either stage.

    Attributes:
        name: of the model that is written.
        run: folder of the run; an interrupted one goes on there.
        seed: of new weights, order, masks and dropout.
    """

    name: str
    run: str
    model: ModelSettings
    data: list[DataSettings] = field(default_factory=list)
    seed: int = 20250101
    train: TrainSettings = field(default_factory=TrainSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    hardware: HardwareSettings = field(default_factory=HardwareSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file; paths in it are relative to its folder.

        Raises:
            ConfigError: the file is missing, is no TOML, or has a field or value that cannot be.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror}", hint=f"ready ones are in {CONFIGS}"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error
        try:
            return cls.from_values(values, path.parent)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error

    @classmethod
    def from_values(cls, values: Mapping[str, Any], folder: Path) -> Self:
        """Read a TOML file's content; ``folder`` is what its paths are relative to.

        Raises:
            ConfigError: a field or value cannot be.
        """
        values = dict(values)
        data = values.pop("data", None)
        if not isinstance(data, list) or not data or not all(isinstance(item, Mapping) for item in data):
            raise ConfigError("no data is named", hint="add [[data]] with path = ...")
        files = [read_fields(DataSettings, item, f"data[{number}].") for number, item in enumerate(data)]
        config = read_fields(cls, values)
        model = replace(
            config.model,
            start=_resolve(folder, config.model.start),
            encoder=_resolve(folder, config.model.encoder),
            language_model=_resolve(folder, config.model.language_model),
        )
        files = [replace(item, path=str(folder / item.path)) for item in files]
        return replace(config, model=model, data=files, run=str(folder / config.run))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig(StageConfig):
    """A run of stage 1."""

    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)

    def __post_init__(self) -> None:
        if self.model.language_model is None:
            raise ConfigError(
                "model.language_model is missing", hint="alignment needs its token embeddings and output head"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(StageConfig):
    """A run of stage 2."""

    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)


def _resolve(folder: Path, name: str | None) -> str | None:
    """Return a model's folder where there is one beside the configuration, else the name as it is."""
    return str(folder / name) if name is not None and (folder / name).is_dir() else name


def _within(name: str, value: float, low: float, high: float | None = None) -> None:
    if value < low or (high is not None and value > high):
        wanted = f"{low} or more" if high is None else f"{low} to {high}"
        raise ConfigError(f"{name} is {value}", hint=f"use {wanted}")
