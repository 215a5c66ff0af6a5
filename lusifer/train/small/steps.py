"""The losses of the steps: what the model is drawn to, by a frozen copy of what it started from.

Sentences and passages: a text of any language stands where the frozen encoder puts its English side.
Questions within a language: the scores of questions and passages are as the frozen encoder has them in that
language, with a share of the table's. Questions of mixed languages: the right passage first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from lusifer.config import PromptKind
from lusifer.model import Lusifer, pad
from lusifer.tokenization import encode
from lusifer.train.small.batches import Alone, Batch, Questions, Translations
from lusifer.train.small.recipe import SmallRecipe

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
