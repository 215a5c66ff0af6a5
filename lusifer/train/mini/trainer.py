"""Make a tiny data folder out of a folder of documents, so that the whole recipe can be tried in a minute.

The layout is that of a real one. What it teaches is little: documents of one sub-folder, which treat one
topic, stand in for translations of each other. Must not know tokenizers or training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from lusifer.detection import detect
from lusifer.errors import ConfigError, DataError, TrainingError
from lusifer.train.mini.batches import Sampler, sample_sides
from lusifer.train.mini.corpus import PIVOT
from lusifer.train.mini.export import weigh_tokens, whitening
from lusifer.train.mini.prepare import count_tokens, list_sets, make_tokenizer, prepare
from lusifer.train.mini.recipe import Recipe
from lusifer.train.mini.table import TableTrainer, encode
from lusifer.train.mini.teacher import TeacherVectors, english_texts, teach

# Train lusifer-mini from a folder of parallel text: tokenizer, token arrays, table, checkpoints.


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


_SUFFIXES = (".md", ".txt")
_SHORTEST = 20


@dataclass(frozen=True, slots=True)
class _Document:
    topic: str
    language: str
    title: str
    passages: list[str]


def write_quick_data(documents: Path, folder: Path) -> list[str]:
    """Write ``train/`` and ``asym/`` under ``folder`` from the Markdown and text files of ``documents``.

    Sentences: an English document's passages with those of another language of the same sub-folder, in order;
    words: their titles; query to passage: a title or first words to each passage, and a passage to the next.

    Returns:
        Files that were left out, each with the reason.

    Raises:
        DataError: there is no such folder, or it has no sub-folder with an English and another document.
    """
    if not documents.is_dir():
        raise DataError(f"folder {documents} does not exist", hint="give a folder of documents, as samples/")
    left_out: list[str] = []
    read = list(_read(documents, left_out))
    lines: dict[str, list[tuple[str, str]]] = {}
    for english in (document for document in read if document.language == PIVOT):
        for other in read:
            if other.topic == english.topic and other.language != PIVOT:
                lines.setdefault(f"train/{other.language}.words", []).append((english.title, other.title))
                lines.setdefault(f"train/{other.language}", []).extend(
                    zip(english.passages, other.passages, strict=False)
                )
    if not lines:
        raise DataError(
            f"{documents} has no sub-folder with an English and another document to learn from",
            hint="put documents on one topic into one sub-folder, .md or .txt in UTF-8",
        )
    for document in read:
        pairs = [(document.title, passage) for passage in document.passages]
        pairs += [(" ".join(a.split()[:6]), b) for a, b in pairwise(document.passages)]
        lines.setdefault(f"asym/{document.language}-{document.language}", []).extend(pairs)
    for stem, pairs in lines.items():
        path = folder / f"{stem}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"documents\t{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return left_out


def _read(folder: Path, left_out: list[str]) -> Iterator[_Document]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in _SUFFIXES:
            left_out.append(f"{name}: not .md or .txt")
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            left_out.append(f"{name}: not UTF-8")
            continue
        blocks = [" ".join(block.split()) for block in text.split("\n\n")]
        passages = [block for block in blocks[1:] if len(block) >= _SHORTEST and not block.startswith("#")]
        if passages:
            title = blocks[0].lstrip("# ")
            yield _Document(path.parent.as_posix(), detect(text).code, title, passages)
        else:
            left_out.append(f"{name}: no paragraphs")
