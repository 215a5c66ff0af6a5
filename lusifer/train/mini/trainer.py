"""Train lusifer-mini from a folder of parallel text: tokenizer, token arrays, table, checkpoints."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from lusifer.errors import ConfigError, DataError, TrainingError
from lusifer.train.mini.batches import Sampler
from lusifer.train.mini.corpus import english_texts, list_sets
from lusifer.train.mini.export import finish_table
from lusifer.train.mini.prepare import prepare
from lusifer.train.mini.recipe import Recipe
from lusifer.train.mini.table import TableTrainer
from lusifer.train.mini.teacher import TeacherVectors, teach
from lusifer.train.mini.tokenizer import make_tokenizer
from lusifer.train.run import Report, RunFolder, learning_rate, written_aside

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
    folder = RunFolder(run)
    folder.begin(asdict(recipe), "recipe.json")
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
    _train(trainer, caches, folder, recipe, vectors, report)
    return finish_table(trainer.table, caches, recipe), tokenizer


def _train(
    trainer: TableTrainer,
    caches: list[Path],
    run: RunFolder,
    recipe: Recipe,
    teacher: TeacherVectors | None,
    report: Report,
) -> None:
    checkpoint = run.path / "checkpoint.safetensors"
    if checkpoint.is_file():
        trainer.load_state(load_file(checkpoint))
        report(f"going on from step {trainer.optimiser.steps:,}")
    start = trainer.optimiser.steps
    sampler = Sampler(caches, recipe, start=start)
    report(f"pairs: {sampler.describe()}")
    saved = began = time.monotonic()
    losses: dict[str, list[float]] = {}
    pairs = 0
    run.resume_log(start)
    for step, batch in enumerate(islice(sampler, max(0, recipe.steps - start)), start):
        passages = batch.kind == "passages"
        loss = trainer.step(
            batch,
            rate=learning_rate(
                step, recipe.steps, peak=recipe.learning_rate, warmup=recipe.warmup, fall="linear"
            ),
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
            speed = pairs / (time.monotonic() - began)
            run.log({"step": step + 1, "pairs_per_second": round(speed), **row})
            report(f"step {step + 1:,}/{recipe.steps:,}  {speed:,.0f} pairs/s  {row}")
            losses.clear()
        if time.monotonic() - saved > recipe.checkpoint_minutes * 60:
            _save(trainer, checkpoint)
            saved = time.monotonic()
    _save(trainer, checkpoint)


def _save(trainer: TableTrainer, path: Path) -> None:
    with written_aside(path) as draft:
        save_file({name: value.contiguous() for name, value in trainer.state().items()}, draft)
