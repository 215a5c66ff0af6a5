"""The two stages, for an English model that is an encoder: what is imitated, what is told apart.

Alignment in the paper makes a frozen language model say a text that reaches it through encoder and connector
only. A sentence encoder says nothing: it has no token head. What it can give back of a text is how it reads
it, so that is what is reconstructed here, with the English model frozen, in two parts:

- *pieces*: for words that are one token on both sides, the connector's output for the token is to be the
  English model's own embedding of the piece (squared error, relative to the embeddings' mean square);
- *vector*: the English model, reading a text through the connector with a share of its tokens left out, is to
  give the vector it gives the whole text through its own tokenizer; its own vectors of the batch's other
  texts are the negatives (cross-entropy, as the paper's is over the vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.optim import AdamW, Optimizer, SparseAdam

from benchmarks.zero_shot.data import AlignmentData, PairData, Rows
from lusifer.config import configuration
from lusifer.errors import TrainingError
from lusifer.model import Lusifer, pad
from lusifer.train.losses import ContrastiveLoss
from lusifer.train.run import SEED, Report, learning_rate, seed_all
from lusifer.train.stages.settings import LoraSettings


@configuration
class ZeroShotSettings:
    """What decides a run's result, besides data and models.

    Attributes:
        seed: of the connector, the order, what is masked, LoRA and dropout.
        align_steps: of stage 1; a step has ``texts`` texts and ``words`` words.
        finetune_steps: of stage 2; a step has ``pairs`` questions with passages.
        align_rate: learning rate of stage 1 at its peak.
        finetune_rate: of stage 2.
        masked: share of a text's tokens left out in stage 1.
        characters: longer sentences are left out of stage 1.
        passage_tokens: passages are cut there in stage 2.
        temperature: of both contrastive losses, over cosines.
        lora: of the English model, in stage 2.
    """

    seed: int = SEED
    align_steps: PositiveInt = 200
    finetune_steps: PositiveInt = 60
    texts: PositiveInt = 128
    words: PositiveInt = 2048
    pairs: PositiveInt = 64
    align_rate: NonNegativeFloat = 2e-3
    finetune_rate: NonNegativeFloat = 3e-4
    masked: float = 0.1
    characters: PositiveInt = 120
    passage_tokens: PositiveInt = 64
    temperature: float = 0.05
    lora: LoraSettings = field(default_factory=LoraSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def align(model: Lusifer, data: AlignmentData, settings: ZeroShotSettings, report: Report) -> list[float]:
    """Run stage 1 on what learns in a model; return the loss of each step."""
    loss_of = ContrastiveLoss("cosine", settings.temperature)
    scale = data.pieces.square().mean()
    plan = _batches(data.rows, settings.texts, np.random.default_rng([settings.seed, 1]))

    def loss(step: int) -> Tensor:
        rng = np.random.default_rng([settings.seed, 2, step])
        batch = next(plan)
        vectors = _embed(model, [_thin(data.rows[row], settings.masked, rng) for row in batch])
        own = data.targets[batch].to(vectors.device)
        vector = loss_of.shared(vectors, own[:, None], own[:0, None], torch.arange(len(batch)).to(own.device))
        drawn = rng.choice(len(data.words), settings.words, p=data.shares)
        ids = torch.from_numpy(data.words[drawn])[:, None].to(vectors.device)
        with precision(ids.device):
            read = model.connector(model.encoder(ids, torch.ones_like(ids)), torch.ones_like(ids))[0][:, 0]
        error = (read.float() - data.pieces[drawn].to(vectors.device)).square().mean() / scale
        both: Tensor = vector + error
        return both

    return _learn(model, loss, settings.align_steps, settings.align_rate, settings.seed, report)


def finetune(model: Lusifer, data: PairData, settings: ZeroShotSettings, report: Report) -> list[float]:
    """Run stage 2, with the batch's other texts as negatives; return the loss of each step."""
    loss_of = ContrastiveLoss("cosine", settings.temperature)
    passages = [row[: settings.passage_tokens] for row in data.passages]
    plan = _batches(passages, settings.pairs, np.random.default_rng([settings.seed, 3]))

    def loss(_: int) -> Tensor:
        batch = next(plan)
        asked = _embed(model, [data.questions[row] for row in batch])
        answers = _embed(model, [passages[row] for row in batch])
        labels = torch.from_numpy(data.labels[batch]).to(asked.device)
        return loss_of.shared(asked, answers[:, None], answers[:0, None], labels)

    model.language_model.train(any(value.requires_grad for value in model.language_model.parameters()))
    losses = _learn(model, loss, settings.finetune_steps, settings.finetune_rate, settings.seed, report)
    model.eval()
    return losses


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which everything is computed, here and in evaluation: autocast to bfloat16."""
    return torch.autocast(device.type, torch.bfloat16)


def _embed(model: Lusifer, rows: Rows) -> Tensor:
    ids, mask = pad(rows, model.encoder.pad_id)
    device = model.connector.added_tokens.device if model.connector.added_tokens is not None else ids.device
    with precision(device):
        reps: Tensor = model(ids.to(device), mask.to(device)).reps
    return reps.float()


def _thin(row: list[int], share: float, rng: np.random.Generator) -> list[int]:
    """Leave out a share of a text's tokens, but never all of them."""
    kept = [token for token, drawn in zip(row, rng.random(len(row)), strict=True) if drawn >= share]
    return kept or row


def _batches(rows: Rows, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of texts of like length, so that little is padding, in random order, for ever."""
    lengths = np.array([len(row) for row in rows])
    size = min(size, len(rows))
    while True:
        order = rng.permutation(len(rows))
        order = order[np.argsort(lengths[order], kind="stable")]
        # The few left over differ each time, and are not always the longest.
        first = int(rng.integers(len(rows) % size + 1))
        yield from rng.permutation(order[first : first + len(rows) // size * size].reshape(-1, size))


def _learn(
    model: Lusifer, loss: Callable[[int], Tensor], steps: int, rate: float, seed: int, report: Report
) -> list[float]:
    table = model.encoder.table.weight if model.encoder.table is not None else None
    dense = [value for value in model.parameters() if value.requires_grad and value is not table]
    optimisers: list[Optimizer] = [AdamW(dense, rate, weight_decay=0.01)]
    if table is not None and table.requires_grad:
        optimisers.append(SparseAdam([table], rate))
    losses = []
    for step in range(steps):
        seed_all(seed, step)
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate(step, steps, peak=rate, warmup=0.1)
        value = loss(step)
        if not torch.isfinite(value):
            raise TrainingError(f"at step {step + 1} the loss is {float(value)}", hint="lower the rate")
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(dense, 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        losses.append(float(value.detach()))
        if (step + 1) % 20 == 0 or step + 1 == steps:
            report(f"step {step + 1:,}/{steps:,}  loss {np.mean(losses[-20:]):.4f}")
    return losses
