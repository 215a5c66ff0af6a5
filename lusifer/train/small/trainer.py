"""Train lusifer-small: read and cut the source, learn, leave a model to be exported; a run can be resumed."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from lusifer.config import PromptKind
from lusifer.embedder import Embedder
from lusifer.errors import TrainingError
from lusifer.model import Lusifer
from lusifer.train.run import Report, RunFolder, learning_rate, seed_all, written_aside
from lusifer.train.small.batches import Sampler
from lusifer.train.small.network import PROMPTS, build_model
from lusifer.train.small.recipe import SmallRecipe
from lusifer.train.small.source import PREFIX, Source, read_source
from lusifer.train.small.steps import Steps
from lusifer.train.small.texts import Corpus, read_corpus
from lusifer.train.small.vocabulary import choose_pieces, count_pieces, cut_tokenizer, vocabulary_of

_SPEAK_EVERY = 50
_WORDS = f"{PREFIX}embeddings.word_embeddings.weight"


def train_small(
    data: Path, weights: str, run: Path, recipe: SmallRecipe, *, report: Report
) -> tuple[Lusifer, Tokenizer, list[tuple[PromptKind, str]]]:
    """Run the recipe, or go on with a run that was interrupted.

    Args:
        data: folder with ``train/``, ``questions/``, ``asym/`` (and ``dev/``, whose texts are kept out).
        weights: the source, see ``read_source``.
        run: folder of this run: recipe, checkpoint, log. Made if missing.
        recipe: what to do; a run keeps the recipe it was begun with.
        report: called with a line now and then.

    Returns:
        The model, its tokenizer, and texts to calibrate it on.

    Raises:
        TrainingError: the source cannot be read, or the run was begun with another recipe.
        DataError: the data folder holds no training text.
    """
    folder = RunFolder(run)
    folder.begin({**asdict(recipe), "weights": weights}, "recipe.json")
    report("training text")
    corpus = read_corpus(data, recipe)
    report("vocabulary")
    source = cut_source(read_source(weights), corpus, recipe, run / "pieces.npy")
    report(f"{source.transformer['vocab_size']:,} pieces")
    student, teacher = build_model(source), build_model(source, connector=False)
    _share_embeddings(student, teacher)
    sampler_table = Embedder.load("lusifer-mini")
    steps = Steps(student, teacher, source.tokenizer, recipe)
    _learn(student, steps, corpus, sampler_table, folder, recipe, report)
    return student.eval(), source.tokenizer, calibration_texts(corpus, recipe)


def cut_source(source: Source, corpus: Corpus, recipe: SmallRecipe, cache: Path) -> Source:
    """Return the source with the pieces that the corpus needs; ``cache`` keeps which they are."""
    if cache.is_file():
        kept = [int(piece) for piece in np.load(cache)]
    else:
        # Fewer than the source has rows: some encoders pad their table.
        pieces = vocabulary_of(source.tokenizer)
        counts = []
        prompts = [PROMPTS.query, PROMPTS.document]
        for texts in (prompts, *_by_language(corpus).values()):
            count = np.zeros(len(pieces), np.int64)
            count_pieces(source.tokenizer, texts, count)
            counts.append(count)
        kept = choose_pieces(pieces, counts, recipe.vocabulary)
        with written_aside(cache) as draft, draft.open("wb") as file:
            np.save(file, np.array(kept))
    return replace(
        source,
        transformer={**source.transformer, "vocab_size": len(kept)},
        parameters={**source.parameters, _WORDS: source.parameters[_WORDS][kept]},
        tokenizer=cut_tokenizer(source.tokenizer, kept),
    )


def _by_language(corpus: Corpus) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = defaultdict(list)
    for kind in (corpus.sentences, corpus.passages):
        for language, pairs in kind.items():
            texts[language] += [other for _, other in pairs]
            texts["en"] += [english for english, _ in pairs]
    for asked in corpus.asked:
        texts[asked.question_language].append(asked.question)
        texts[asked.passage_language].append(asked.passage)
    for language, questions in corpus.questions.items():
        texts[language] += questions
    return texts


def _share_embeddings(student: Lusifer, teacher: Lusifer) -> None:
    """Let both models read the same embeddings, which stay as they are."""
    assert student.encoder.transformer is not None
    assert teacher.encoder.transformer is not None
    student.encoder.transformer.embeddings = teacher.encoder.transformer.embeddings
    student.encoder.transformer.embeddings.requires_grad_(False)


def _learn(
    student: Lusifer,
    steps: Steps,
    corpus: Corpus,
    table: Embedder,
    run: RunFolder,
    recipe: SmallRecipe,
    report: Report,
) -> None:
    learnt = {name: value for name, value in student.named_parameters() if value.requires_grad}
    groups = [
        {"params": [value for value in learnt.values() if value.dim() > 1], "weight_decay": 0.01},
        {"params": [value for value in learnt.values() if value.dim() < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    checkpoint, state = run.path / "checkpoint.safetensors", run.path / "optimiser.pt"
    start = 0
    if checkpoint.is_file():
        found = load_file(checkpoint)
        start = int(found.pop("step"))
        student.load_state_dict(found, strict=False)
        # Of another step only if the run was killed between the two files: it then warms up anew.
        kept: dict[str, Any] = torch.load(state, weights_only=True) if state.is_file() else {"step": -1}
        if kept["step"] == start:
            optimiser.load_state_dict(kept["optimiser"])
        report(f"going on from step {start:,}")
    run.resume_log(start)
    student.train()
    losses: dict[str, list[float]] = defaultdict(list)
    began = saved = time.monotonic()
    sampler = islice(Sampler(corpus, recipe, table, start), max(0, recipe.steps - start))
    for step, (kind, batch) in enumerate(sampler, start):
        seed_all(recipe.seed, step)
        rate = learning_rate(
            step, recipe.steps, peak=recipe.learning_rate, warmup=recipe.warmup, fall="linear"
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = steps.loss(batch, step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learnt.values(), 1.0)
        optimiser.step()
        losses[kind].append(loss.item())
        if not np.isfinite(losses[kind][-1]):
            raise TrainingError(f"the loss is {losses[kind][-1]} at step {step}", hint="lower learning_rate")
        last = step + 1 == recipe.steps
        if (step + 1) % _SPEAK_EVERY == 0 or last:
            row = {name: round(float(np.mean(values)), 4) for name, values in sorted(losses.items())}
            run.log({"step": step + 1, "seconds": round(time.monotonic() - began), **row})
            report(f"step {step + 1:,}/{recipe.steps:,}  {row}")
            losses.clear()
        if last or time.monotonic() - saved > recipe.checkpoint_minutes * 60:
            _save(step + 1, learnt, optimiser, checkpoint, state)
            saved = time.monotonic()


def _save(
    step: int,
    learnt: dict[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    checkpoint: Path,
    state: Path,
) -> None:
    with written_aside(state) as draft:
        torch.save({"step": step, "optimiser": optimiser.state_dict()}, draft)
    tensors = {name: value.detach().contiguous() for name, value in learnt.items()}
    with written_aside(checkpoint) as draft:
        save_file({**tensors, "step": torch.tensor(step)}, draft)


def calibration_texts(corpus: Corpus, recipe: SmallRecipe) -> list[tuple[PromptKind, str]]:
    """Return questions and passages of every language, to learn from how far activations reach."""
    rng = np.random.default_rng(recipe.seed)
    texts: list[tuple[PromptKind, str]] = []
    for _, own in sorted(_by_language(corpus).items()):
        some = [own[place] for place in rng.permutation(len(own))[: recipe.calibration_texts]]
        texts += [("query" if len(text) < 120 else "document", text) for text in some]
    return texts
