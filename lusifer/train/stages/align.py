"""Stage 1: train encoder and connector so that a frozen language model can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import MistralModel

from lusifer.checkpoints.own import TOKENIZER, backbone_file
from lusifer.errors import ConfigError
from lusifer.tokenization import load_tokenizer
from lusifer.train.run import Report, seed_all
from lusifer.train.stages.collate import (
    AlignmentModel,
    SourceTokens,
    TargetTokens,
    collate_alignment,
    count_targets,
    make_exercise,
)
from lusifer.train.stages.data import Examples, Record
from lusifer.train.stages.distributed import Processes, set_synchronised
from lusifer.train.stages.model import Built, set_modes
from lusifer.train.stages.settings import AlignConfig, Task
from lusifer.train.stages.trainer import run_stage


def align(config: AlignConfig, report: Report) -> Path:
    """Run stage 1, or go on with it; return the folder of the model. Raises what ``run_stage`` does."""
    return run_stage(config, AlignStage, _useless, report, together=False, head=True)


def _useless(record: Record, task: Task) -> str | None:
    if task != "reconstruct" and not record.positives:
        return f"task {task} needs the field 'positive'"
    return None


class AlignStage:
    """Gradients of stage 1; see ``trainer.Stage``."""

    def __init__(self, config: AlignConfig, built: Built, examples: Examples, processes: Processes) -> None:
        self._config, self._examples, self._processes = config, examples, processes
        self._settings = config.alignment
        self.steps = examples.steps
        name = config.model.language_model
        assert name is not None
        assert built.head is not None
        tokenizer = load_tokenizer(backbone_file(Path(), name, TOKENIZER))
        transformer = built.model.language_model.transformer
        if not isinstance(transformer, MistralModel):
            raise ConfigError("the language model has no token head", hint="align with a Mistral")
        self._target = TargetTokens.of(tokenizer, transformer.config, config.model.mask_token)
        self._source = SourceTokens(built.model.config, built.tokenizer)
        self._longest = built.model.config.max_tokens
        self._pad_id = built.model.encoder.pad_id
        whole = AlignmentModel(
            built.model, built.head, bos_id=self._target.bos_id, causal=self._settings.causal
        )
        set_modes(built.model, config)
        self.module: nn.Module = processes.spread(whole)

    def backward(self, step: int) -> float:
        """Leave the gradients of a step; return the mean loss of its target tokens in nats.

        The whole batch is tokenised and padded on every process: where a target begins depends on the longest
        source of the batch, and so must not depend on how the batch is shared out.
        """
        rng = np.random.default_rng([self._config.seed, 1, step])
        batch = collate_alignment(
            [make_exercise(record, task, rng) for record, task in self._examples[step]],
            self._source,
            self._target,
            pad_id=self._pad_id,
            max_tokens=self._longest,
            mask_probability=self._settings.mask_probability,
            rng=rng,
        )
        assert batch.labels is not None
        targets = count_targets(batch.labels)
        processes = self._processes
        share = len(batch.labels) // processes.count
        first, size = processes.rank * share, self._settings.micro_batch
        total = torch.zeros((), device=processes.device)
        for start in range(0, share, size):
            rows = slice(first + start, first + min(start + size, share))
            set_synchronised(self.module, start + size >= share)
            seed_all(self._config.seed, step, processes.rank, start)
            with processes.precision():
                loss, _ = self.module(batch.rows(rows, processes.device))
            # Gradients are averaged over the processes; the loss is a mean over all targets of the batch.
            (loss * (processes.count / targets)).backward()
            total += loss.detach()
        return float(processes.sum(total)) / targets
