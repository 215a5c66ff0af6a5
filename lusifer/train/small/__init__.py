"""Train lusifer-small: what the steps draw the model to, and a run that can be resumed.

A frozen copy of the encoder teaches. Sentences and passages: a text of any language stands where the
teacher puts its English side. Questions within a language: the scores of questions and passages are as the
teacher has them in that language, with a share of the table's. Questions of mixed languages: the right
passage first.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from lusifer.config import PromptKind
from lusifer.embedder import Embedder
from lusifer.errors import TrainingError
from lusifer.model import Lusifer, pad
from lusifer.tokenization import encode
from lusifer.train.run import Report, RunFolder, learning_rate, seed_all, written_aside
from lusifer.train.small.source import (
    PREFIX,
    PROMPTS,
    Source,
    build_model,
    choose_pieces,
    count_pieces,
    cut_tokenizer,
    read_source,
    vocabulary_of,
)
from lusifer.train.small.texts import (
    Alone,
    Batch,
    Corpus,
    Questions,
    Sampler,
    SmallRecipe,
    Translations,
    read_corpus,
)

_PULL, _ENGLISH, _CONTRAST = 20.0, 10.0, 0.5


class Steps:
    """Makes the loss of a batch.

    Args:
        student: the model that learns.
        teacher: the frozen encoder.
        tokenizer: of both.
        recipe: temperatures and lengths.
    """

    def __init__(self, student: Lusifer, teacher: Lusifer, tokenizer: Tokenizer, recipe: SmallRecipe) -> None:
        self._student = student
        self._teacher = teacher.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._recipe = recipe

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the loss of one batch, a scalar."""
        if isinstance(batch, Translations):
            return self._translations(batch, random.Random(self._recipe.seed + step))
        if isinstance(batch, Alone):
            return self._alone(batch)
        return self._within(batch) if batch.language else self._mixed(batch)

    def _translations(self, batch: Translations, rng: random.Random) -> Tensor:
        longest = self._recipe.tokens_passage if batch.long else self._recipe.tokens_sentence
        english = self._rows([pair[0] for pair in batch.pairs], batch.prompt, longest)
        other = self._rows([pair[1] for pair in batch.pairs], batch.prompt, longest)
        count = len(english)
        # English stays where it is: some of it is learnt as its own translation.
        some = rng.sample(range(count), max(1, count // 8))
        target = self._teach(english)
        vectors = self._learn([*other, *(english[place] for place in some)])
        pull = (1 - (vectors * torch.cat([target, target[some]])).sum(dim=1)).mean()
        same = _twins([pair[0] for pair in batch.pairs])
        scores = (vectors[:count] @ target.T / self._recipe.temperature).masked_fill(same, -1e4)
        return _PULL * pull + _CONTRAST * functional.cross_entropy(scores, torch.arange(count))

    def _within(self, batch: Questions) -> Tensor:
        questions, passages = self._asked(batch)
        wanted_questions, wanted_passages = self._teach(questions), self._teach(passages)
        got_questions, got_passages = self._learn(questions), self._learn(passages)
        wanted = wanted_questions @ wanted_passages.T
        wanted = wanted + self._recipe.table * torch.from_numpy(batch.scores)
        scores = got_questions @ got_passages.T
        loss = self._like(scores, wanted) + _CONTRAST * self._contrast(scores, batch)
        if batch.language == "en":
            pull = 2 - (got_questions * wanted_questions + got_passages * wanted_passages).sum(dim=1)
            loss = loss + _ENGLISH * pull.mean()
        return loss

    def _mixed(self, batch: Questions) -> Tensor:
        questions, passages = self._asked(batch)
        return self._contrast(self._learn(questions) @ self._learn(passages).T, batch)

    def _alone(self, batch: Alone) -> Tensor:
        longest = self._recipe.tokens_question
        asks = self._rows(batch.questions, "query", longest)
        answers = self._rows(batch.questions, "document", longest)
        count = len(asks)
        wanted, got = self._teach([*asks, *answers]), self._learn([*asks, *answers])
        return self._like(got[:count] @ got[count:].T, wanted[:count] @ wanted[count:].T)

    def _like(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Return how far scores are from those wanted, as distributions over passages and over questions."""
        warmth = self._recipe.temperature_scores
        parts = [
            functional.kl_div(
                functional.log_softmax(got / warmth, dim=-1),
                functional.softmax(aim / warmth, dim=-1),
                reduction="batchmean",
            )
            for got, aim in ((scores, wanted), (scores.T, wanted.T))
        ]
        return torch.stack(parts).mean()

    def _contrast(self, scores: Tensor, batch: Questions) -> Tensor:
        twins = _twins([asked.question for asked in batch.asked])
        twins |= _twins([asked.passage for asked in batch.asked])
        sharp = (scores / self._recipe.temperature).masked_fill(twins, -1e4)
        places = torch.arange(len(scores))
        return (functional.cross_entropy(sharp, places) + functional.cross_entropy(sharp.T, places)) / 2

    def _asked(self, batch: Questions) -> tuple[list[list[int]], list[list[int]]]:
        recipe = self._recipe
        questions = self._rows([asked.question for asked in batch.asked], "query", recipe.tokens_question)
        passages = self._rows([asked.passage for asked in batch.asked], "document", recipe.tokens_answer)
        return questions, passages

    def _rows(self, texts: Sequence[str], kind: PromptKind, longest: int) -> list[list[int]]:
        prompts = self._student.config.prompts
        encodings = encode(self._tokenizer, [prompts.render(kind, text) for text in texts])
        rows = [encoding.ids for encoding in encodings]
        # The end mark stays where a text is cut.
        return [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in rows]

    def _teach(self, rows: list[list[int]]) -> Tensor:
        with torch.no_grad():
            return _run(self._teacher, rows)

    def _learn(self, rows: list[list[int]]) -> Tensor:
        return _run(self._student, rows)


def _run(model: Lusifer, rows: list[list[int]]) -> Tensor:
    """Return unit vectors; texts of very different length run in two halves, so that less is padding."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    middle = len(order) // 2
    uneven = len(rows[order[-1]]) > 1.3 * len(rows[order[0]]) and len(order) >= 8
    parts = [order[:middle], order[middle:]] if uneven else [order]
    vectors = []
    for part in parts:
        ids, mask = pad([rows[place] for place in part], model.encoder.pad_id, multiple=4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors.append(model(ids, mask).reps.float())
    places = torch.tensor([place for part in parts for place in part])
    return functional.normalize(torch.cat(vectors)[places.argsort()], dim=-1)


def _twins(texts: Sequence[str]) -> Tensor:
    """Return which pairs of different places hold the same text: they are no negatives of each other."""
    count = len(texts)
    found = torch.zeros(count, count, dtype=torch.bool)
    first: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        for other in first.setdefault(text, []):
            found[place, other] = found[other, place] = True
        first[text].append(place)
    return found


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
