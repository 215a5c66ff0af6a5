"""Every setting of a run of a training stage, read from one TOML file; docs/training.md explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lusifer.config import Pooling, configuration
from lusifer.errors import ConfigError
from lusifer.train.run import SEED, Dropout, Share, make_settings, read_toml

#: Ready configurations.
CONFIGS = Path(__file__).parents[1] / "configs"

How = Literal["frozen", "lora", "full"]
Task = Literal["reconstruct", "passage_to_query", "query_to_passage"]


@configuration
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


@configuration
class LoraSettings:
    """Size of LoRA's updates, ``W + alpha / rank * B A``; the defaults are the paper's (table 3)."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Dropout = 0.1


@configuration
class TrainSettings:
    """Which parts learn, and how: ``frozen``, ``lora`` or ``full``. Connector and projection learn or not."""

    encoder: How = "lora"
    language_model: How = "frozen"
    connector: bool = True
    projection: bool = True
    lora: LoraSettings = field(default_factory=LoraSettings)


@configuration
class AlignmentSettings:
    """Stage 1.

    Attributes:
        mask_probability: share of the target's tokens that are masked, and of positions not looked at.
        causal: the paper's variant; false is the authors' code since October 2024.
        micro_batch: texts in one forward pass on one process.
    """

    mask_probability: Share = 0.5
    causal: bool = True
    micro_batch: PositiveInt = 8


@configuration
class FinetuneSettings:
    """Stage 2.

    Attributes:
        similarity: ``l2`` (the authors') or ``cosine``.
        temperature: of the loss.
        negatives: ``shared``, every text of the batch on every process, or ``own``, an example's own only.
        mining: keep only hard pairs among shared ones.
        positives: of each example, drawn each time.
        hard_negatives: likewise.
        chunk: texts in one forward pass on one process, by GradCache; 0 is all in one, without it.
    """

    similarity: Literal["l2", "cosine"] = "l2"
    temperature: PositiveFloat = 0.05
    negatives: Literal["shared", "own"] = "shared"
    mining: bool = False
    positives: PositiveInt = 1
    hard_negatives: NonNegativeInt = 7
    chunk: NonNegativeInt = 32

    def __post_init__(self) -> None:
        if self.negatives == "own" and not self.hard_negatives:
            raise ConfigError(
                "finetune.hard_negatives is 0",
                hint="it must be 1 or more where finetune.negatives is 'own'",
            )


@configuration
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

    batch: PositiveInt = 256
    epochs: PositiveInt = 1
    steps: PositiveInt | None = None
    learning_rate: NonNegativeFloat = 1.5e-4
    min_learning_rate: NonNegativeFloat = 0.0
    warmup: Share = 0.1
    weight_decay: NonNegativeFloat = 0.01
    beta1: Share = 0.9
    beta2: Share = 0.999
    clip: NonNegativeFloat = 1.0


@configuration
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


@configuration
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
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 500
    keep: PositiveInt = 2
    trackers: list[str] = field(default_factory=list)


@configuration
class DataSettings:
    """One file of examples.

    Attributes:
        path: JSON Lines.
        task: what alignment makes of its records; finetuning does not ask.
        limit: only so many records from the top; None for all.
    """

    path: str
    task: Task = "reconstruct"
    limit: PositiveInt | None = None


@configuration
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
    seed: int = SEED
    train: TrainSettings = field(default_factory=TrainSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    hardware: HardwareSettings = field(default_factory=HardwareSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("no data is named", hint="add [[data]] with path = ...")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file; paths in it are relative to its folder.

        Raises:
            ConfigError: the file is missing, is no TOML, or has a field or value that cannot be.
        """
        return cls.from_values(read_toml(path, examples=CONFIGS), path.parent, path)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], folder: Path, source: Path | None = None) -> Self:
        """Read a TOML file's content.

        Args:
            values: the content.
            folder: what its paths are relative to.
            source: the file, for messages.

        Raises:
            ConfigError: a field or value cannot be.
        """
        config = make_settings(cls, values, source)
        model = replace(
            config.model,
            start=_resolve(folder, config.model.start),
            encoder=_resolve(folder, config.model.encoder),
            language_model=_resolve(folder, config.model.language_model),
        )
        data = [replace(item, path=str(folder / item.path)) for item in config.data]
        return replace(config, model=model, data=data, run=str(folder / config.run))


@configuration
class AlignConfig(StageConfig):
    """A run of stage 1."""

    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if self.model.language_model is None:
            raise ConfigError(
                "model.language_model is missing", hint="alignment needs its token embeddings and output head"
            )


@configuration
class FinetuneConfig(StageConfig):
    """A run of stage 2."""

    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)


def _resolve(folder: Path, name: str | None) -> str | None:
    """Return a model's folder where there is one beside the configuration, else the name as it is."""
    return str(folder / name) if name is not None and (folder / name).is_dir() else name
