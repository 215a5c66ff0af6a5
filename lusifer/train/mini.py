"""Train lusifer-mini from a folder of parallel text: tokenizer, token arrays, table, checkpoints.

Ties the steps together and makes them resumable. Must not know how results are shown, nor how the shipped
folder is used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from lusifer.errors import ConfigError, DataError, TrainingError
from lusifer.train.batches import Sampler, sample_sides
from lusifer.train.export import weigh_tokens, whitening
from lusifer.train.prepare import count_tokens, list_sets, make_tokenizer, prepare
from lusifer.train.recipe import Recipe
from lusifer.train.table import TableTrainer, encode
from lusifer.train.teacher import TeacherVectors, english_texts, teach

Report = Callable[[str], None]

_SPEAK_EVERY = 200


def train_mini(
    data: Path, run: Path, recipe: Recipe, *, teacher: Path | None = None, report: Report
) -> tuple[NDArray[np.float32], Tokenizer]:
    """Run the recipe, or go on with a run that was interrupted; return the table and the tokenizer.

    Args:
        data: folder with ``train/`` and ``asym/`` (and ``dev/``, whose texts are kept out of training).
        run: folder of this run: tokenizer, arrays, checkpoint, log. Made if missing.
        recipe: what to do; a run keeps the recipe it was begun with.
        teacher: sentence-transformers folder of an English model to learn from as well, of the same width.
        report: called with a line now and then.

    Returns:
        The table, float32, shape (vocabulary, dimensions), and the tokenizer.

    Raises:
        ConfigError: the teacher's vectors have another width than the recipe's.
        TrainingError: the run was begun with another recipe.
        DataError: the data folder holds no training text, or a file of it cannot be read.
    """
    if not list_sets(data):
        raise DataError(
            f"{data} holds no training text",
            hint="it needs files such as train/fr.tsv.xz (source, English, French)",
        )
    run.mkdir(parents=True, exist_ok=True)
    _keep_recipe(run / "recipe.json", recipe)
    report("tokenizer")
    tokenizer = make_tokenizer(
        data,
        run / "tokenizer.json",
        vocabulary=recipe.vocabulary,
        per_language=recipe.tokenizer_texts,
        seed=recipe.seed,
    )
    report("token arrays")
    caches = prepare(data, tokenizer, run / "cache", max_tokens=recipe.max_tokens, report=report)
    trainer = TableTrainer(
        tokenizer.get_vocab_size(), recipe.dimensions, initial_scale=recipe.initial_scale, seed=recipe.seed
    )
    vectors = None
    if teacher is not None:
        report("teacher vectors")
        texts = english_texts(data, characters=recipe.teacher_characters, seed=recipe.seed)
        chosen = dict(islice(texts.items(), recipe.teacher_texts))
        vectors = teach(teacher, chosen, run / "teacher", report=report)
        if vectors.width != recipe.dimensions:
            raise ConfigError(
                f"the teacher in {teacher} has {vectors.width} dimensions, the recipe {recipe.dimensions}",
                hint="make dimensions in the recipe the teacher's",
            )
    _train(trainer, caches, run, recipe, vectors, report)
    return _finish(trainer.table, caches, recipe), tokenizer


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the rate at a step: a linear rise over the warm-up, then a linear fall to zero."""
    warm = max(1, int(recipe.warmup * recipe.steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * max(0.0, (recipe.steps - step) / max(1, recipe.steps - warm))


def _train(
    trainer: TableTrainer,
    caches: list[Path],
    run: Path,
    recipe: Recipe,
    teacher: TeacherVectors | None,
    report: Report,
) -> None:
    checkpoint = run / "checkpoint.safetensors"
    if checkpoint.is_file():
        trainer.load_state(load_file(checkpoint))
        report(f"going on from step {trainer.optimiser.steps:,}")
    start = trainer.optimiser.steps
    sampler = Sampler(caches, recipe, start=start)
    report(f"pairs: {sampler.describe()}")
    saved = began = time.monotonic()
    losses: dict[str, list[float]] = {}
    pairs = 0
    with (run / "log.jsonl").open("a", encoding="utf-8") as log:
        for step, batch in enumerate(islice(sampler, max(0, recipe.steps - start)), start):
            passages = batch.kind == "passages"
            loss = trainer.step(
                batch,
                rate=learning_rate(step, recipe),
                temperature=recipe.temperature_passages if passages else recipe.temperature,
                teacher=teacher if batch.kind in ("sentences", "words") else None,
                teacher_weight=recipe.teacher_weight,
            )
            if not np.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {step}", hint="lower learning_rate")
            losses.setdefault(batch.kind, []).append(loss)
            pairs += len(batch.left.keys)
            if (step + 1) % _SPEAK_EVERY == 0 or step + 1 == recipe.steps:
                row = {kind: round(float(np.mean(values)), 4) for kind, values in sorted(losses.items())}
                rate = pairs / (time.monotonic() - began)
                log.write(json.dumps({"step": step + 1, "pairs_per_second": round(rate), **row}) + "\n")
                log.flush()
                report(f"step {step + 1:,}/{recipe.steps:,}  {rate:,.0f} pairs/s  {row}")
                losses.clear()
            if time.monotonic() - saved > recipe.checkpoint_minutes * 60:
                _save(trainer, checkpoint)
                saved = time.monotonic()
    _save(trainer, checkpoint)


def _finish(table: Tensor, caches: list[Path], recipe: Recipe) -> NDArray[np.float32]:
    """Weigh the tokens by how common they are, then even out the directions of the space."""
    counts = count_tokens(caches, len(table))
    weighed = weigh_tokens(table.numpy(), counts, recipe.token_prior)
    if recipe.whitening == 0:
        return weighed
    rows = torch.from_numpy(weighed)
    texts = sample_sides(caches, recipe.whitening_texts, seed=recipe.seed)
    vectors = torch.cat([encode(rows, torch.from_numpy(t.ids), torch.from_numpy(t.starts)) for t in texts])
    return weighed @ whitening(vectors.numpy(), recipe.whitening)


def _save(trainer: TableTrainer, path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in trainer.state().items()}, partial)
    partial.rename(path)


def _keep_recipe(path: Path, recipe: Recipe) -> None:
    if not path.is_file():
        path.write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(name for name, value in asdict(recipe).items() if before.get(name) != value)
    if changed:
        raise TrainingError(
            f"the run in {path.parent} was begun with another recipe ({', '.join(changed)} differ)",
            hint="give another --run folder, or delete this one to begin anew",
        )


def set_threads(threads: int | None) -> None:
    """Limit the threads of the tensor library; None leaves its choice."""
    if threads is not None:
        torch.set_num_threads(threads)
