"""Train lusifer-mini from a folder of parallel text: tokenizer, token arrays, table, model folder."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from lusifer.checkpoints.own import write_static
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig
from lusifer.embedder import DEFAULT_MODEL
from lusifer.errors import ConfigError, DataError, TrainingError
from lusifer.train.mini.batches import Sampler, sample_sides
from lusifer.train.mini.corpus import english_texts, list_sets
from lusifer.train.mini.prepare import count_tokens, prepare
from lusifer.train.mini.recipe import Recipe
from lusifer.train.mini.table import TableTrainer, TeacherVectors, encode, teach
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
    return _finish(trainer.table, caches, recipe), tokenizer


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


def weigh_tokens(table: NDArray[np.float32], counts: NDArray[np.int64], prior: float) -> NDArray[np.float32]:
    """Scale each row by a / (a + p), p the share of its token in running text (SIF, Arora et al. 2017).

    The training text is short of natural questions, so the table learns too little that "what", "should" and
    "if" say nothing about the subject; this tells it. Common words matter to tell translations apart, so a
    small ``a`` finds more passages and matches fewer sentences.

    Args:
        table: shape (vocabulary, dimensions).
        counts: of each token, shape (vocabulary,).
        prior: the a of the formula; 0 leaves the table as it is.
    """
    if prior == 0:
        return table
    share = counts / max(1, int(counts.sum()))
    factor = (prior / (prior + share)).astype(np.float32)
    return table * factor[:, None]


def whitening(vectors: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return the linear map C^-power of the space in which ``vectors`` have the second moments C.

    The training text leans to computing, so a few directions that tell its texts apart take most of the
    variance and are of no use for other subjects. Evening the directions out over words of general language
    (half-way: 0.5 is full whitening, Su et al. 2021) lets every direction count. The map is the model's
    connector, a linear layer, and folds into the table.

    Args:
        vectors: unit vectors, shape (n, d), n well above d.
        power: of the eigenvalues; 0 is the identity.

    Returns:
        Symmetric, shape (d, d).
    """
    moments = vectors.T.astype(np.float64) @ vectors / len(vectors)
    values, directions = np.linalg.eigh(moments)
    values = np.maximum(values, values[-1] * 1e-4) / values[-1]
    even: NDArray[np.float64] = (directions * values**-power) @ directions.T
    return even.astype(np.float32)


def export_mini(
    table: NDArray[np.float32],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    repeats: float = 1.0,
    max_tokens: int = 2048,
) -> None:
    """Write the per-token pipeline, folded: token table, identity connector, a language model of no layers.

    Args:
        table: float32, shape (vocabulary, dimensions); stored as int8 with one factor per row.
        tokenizer: its ids are the table's rows.
        folder: made if missing.
        repeats: see ``ModelConfig``.
        max_tokens: texts are cut there when they are embedded; a sum of tokens has no limit of its own.
    """
    vocabulary, dimensions = table.shape
    config = ModelConfig(
        name=DEFAULT_MODEL,
        encoder=EncoderConfig("token_table", vocabulary, dimensions),
        language_model=LanguageModelConfig(dimensions),
        repeats=repeats,
        max_tokens=max_tokens,
    )
    write_static(folder, table, tokenizer, config, quantise="int8")
