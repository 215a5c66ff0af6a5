"""Stage 2: train the whole model to tell passages that answer a question from those that do not."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lusifer.model import Lusifer, pad
from lusifer.train.losses import ContrastiveLoss
from lusifer.train.run import Report, seed_all
from lusifer.train.stages.collate import Group, SourceTokens, draw_groups
from lusifer.train.stages.data import Examples, Record
from lusifer.train.stages.distributed import Processes, set_synchronised
from lusifer.train.stages.model import Built, set_modes
from lusifer.train.stages.settings import FinetuneConfig, FinetuneSettings, Task
from lusifer.train.stages.trainer import run_stage


def finetune(config: FinetuneConfig, report: Report) -> Path:
    """Run stage 2, or go on with it; return the folder of the model. Raises what ``run_stage`` does."""

    def check(record: Record, _: Task) -> str | None:
        return _useless(record, config.finetune)

    return run_stage(config, FinetuneStage, check, report, together=True, head=False)


def _useless(record: Record, settings: FinetuneSettings) -> str | None:
    if not record.positives:
        return "finetuning needs the field 'positive'"
    if settings.hard_negatives and not record.negatives:
        return "the field 'negative' is missing (finetune.hard_negatives is not 0)"
    if not record.in_batch_negatives and not record.negatives:
        return "without in-batch negatives the field 'negative' is needed"
    return None


class Representations(nn.Module):
    """A model whose forward pass returns its vectors alone, as wrappers of modules want it."""

    def __init__(self, model: Lusifer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return ``(batch, dimensions)``, not normalised."""
        reps: Tensor = self.model(input_ids, attention_mask).reps
        return reps.float()


class FinetuneStage:
    """Gradients of stage 2; see ``trainer.Stage``."""

    def __init__(
        self, config: FinetuneConfig, built: Built, examples: Examples, processes: Processes
    ) -> None:
        self._config, self._examples, self._processes = config, examples, processes
        self._settings = settings = config.finetune
        self._loss = ContrastiveLoss(settings.similarity, settings.temperature, settings.mining)
        self.steps = examples.steps
        self._source = SourceTokens(built.model.config, built.tokenizer)
        self._pad_id = built.model.encoder.pad_id
        whole = Representations(built.model)
        set_modes(built.model, config)
        self.module: nn.Module = processes.spread(whole)

    def backward(self, step: int) -> float:
        """Leave the gradients of a step; return its loss, the same on every process."""
        rng = np.random.default_rng([self._config.seed, 2, step])
        settings, processes = self._settings, self._processes
        records = [record for record, _ in self._examples[step]]
        groups = draw_groups(records, settings.positives, settings.hard_negatives, rng)
        share = len(groups) // processes.count
        local = groups[processes.rank * share : (processes.rank + 1) * share]
        rows = self._source([text for group in local for text in group.texts()])
        shared = settings.negatives == "shared" and all(record.in_batch_negatives for record in records)
        labels = torch.tensor([_label(record) for record in records], device=processes.device)

        def loss(reps: Tensor) -> Tensor:
            return self._global_loss(reps, groups[0], labels, shared=shared)

        return cached_backward(
            loss, rows, settings.chunk or len(rows), self._vectors(step), self._synchronise, processes.count
        )

    def _vectors(self, step: int) -> Callable[[list[list[int]], int], Tensor]:
        processes = self._processes

        def run(rows: list[list[int]], chunk: int) -> Tensor:
            ids, mask = pad(rows, self._pad_id)
            seed_all(self._config.seed, step, processes.rank, chunk)
            with processes.precision():
                reps: Tensor = self.module(ids.to(processes.device), mask.to(processes.device))
            return reps

        return run

    def _synchronise(self, wanted: bool) -> None:
        set_synchronised(self.module, wanted)

    def _global_loss(self, reps: Tensor, like: Group, labels: Tensor, *, shared: bool) -> Tensor:
        """Return the loss over the vectors of all processes, with a gradient for this one's.

        Every process computes the whole of it, so the gradient holds this process's texts also as negatives
        of the others' questions, and no gradients need to be sent back.
        """
        rank = self._processes.rank
        everything = self._processes.gather(reps)
        count = len(reps)
        everything = torch.cat([everything[: rank * count], reps, everything[(rank + 1) * count :]])
        passages = 1 + len(like.positives)
        groups = everything.reshape(-1, passages + len(like.negatives), reps.shape[1])
        queries, positives, negatives = groups[:, 0], groups[:, 1:passages], groups[:, passages:]
        if shared:
            return self._loss.shared(queries, positives, negatives, labels)
        return self._loss.own(queries, positives, negatives)


def cached_backward(
    loss: Callable[[Tensor], Tensor],
    rows: list[list[int]],
    size: int,
    vectors: Callable[[list[list[int]], int], Tensor],
    synchronise: Callable[[bool], None],
    processes: int,
) -> float:
    """Leave the gradients of a loss over many texts, a chunk at a time (GradCache, Gao et al. 2021).

    First all vectors without gradients, then the loss and each vector's gradient, then each chunk again with.

    Args:
        loss: of the vectors of all rows, in order.
        rows: token ids of each text.
        size: texts in a chunk.
        vectors: rows of a chunk and its number to vectors; draws the same dropout each time.
        synchronise: says before a forward pass whether its gradients are summed over the processes.
        processes: how many there are; their gradients are averaged, so they are scaled by it.
    """
    if size >= len(rows):
        synchronise(True)
        value = loss(vectors(rows, 0))
        (value * processes).backward()  # type: ignore[no-untyped-call]
        return float(value.detach())
    # Long texts together, so that little is padding.
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    with torch.no_grad():
        parts = [vectors([rows[index] for index in chunk], number) for number, chunk in enumerate(chunks)]
    # To the order of the rows: where each of them is among the sorted ones.
    reps = torch.cat(parts)[torch.tensor(order).argsort()].requires_grad_()
    value = loss(reps)
    value.backward()  # type: ignore[no-untyped-call]
    assert reps.grad is not None
    for number, chunk in enumerate(chunks):
        synchronise(number == len(chunks) - 1)
        again = vectors([rows[index] for index in chunk], number)
        torch.autograd.backward(again, reps.grad[chunk] * processes)
    return float(value.detach())


def _label(record: Record) -> int:
    """Return a number for the question, so that the same one twice in a batch is not its own negative."""
    return int.from_bytes(blake2b(record.query.encode("utf-8", "replace"), digest_size=7).digest())
