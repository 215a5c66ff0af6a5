"""Draw the batches of each kind of step: languages as often, texts of like length, passages of like topic.

Which passages are about like topics is asked of lusifer-mini's table: it is fast, and a passage of another
language on the same matter is near there too, so that mixed batches are as hard as those of one language.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from lusifer.config import PromptKind
from lusifer.embedder import TextEmbedder
from lusifer.train.small.recipe import SmallRecipe
from lusifer.train.small.texts import Asked, Corpus, Translation

#: Of so many times the pairs of a batch, it takes those of like length.
_DRAWN = 20
#: Passages that a mixed batch is drawn from, of each pair of languages.
_MIXED = 400


@dataclass(frozen=True, slots=True)
class Translations:
    """English texts and their translations, at the length of sentences or of passages."""

    pairs: list[Translation]
    prompt: PromptKind
    long: bool


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions and the passages that answer them, row by row.

    Attributes:
        asked: the texts.
        language: of all of them; empty if they are mixed.
        scores: the table's cosines of each question with each passage.
    """

    asked: list[Asked]
    language: str
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Alone:
    """Questions of one language without passages, about like things."""

    questions: list[str]


Batch = Translations | Questions | Alone


class Sampler:
    """Endless batches; each depends on seed and step alone, so a run that goes on draws the same ones.

    Args:
        corpus: what is learnt from.
        recipe: sizes and kinds.
        table: lusifer-mini.
        start: how many batches were drawn before, in a run that goes on.
    """

    def __init__(self, corpus: Corpus, recipe: SmallRecipe, table: TextEmbedder, start: int = 0) -> None:
        self._corpus = corpus
        self._recipe = recipe
        self._start = start
        self._rng = random.Random()
        self._passages = _half(table.embed_documents([asked.passage for asked in corpus.asked]))
        self._questions = _half(table.embed_query([asked.question for asked in corpus.asked]))
        self._alone = {
            language: _half(table.embed_query(questions))
            for language, questions in corpus.questions.items()
            if len(questions) >= recipe.batch_questions
        }
        places: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
        for place, asked in enumerate(corpus.asked):
            places[asked.question_language, asked.passage_language, asked.real].append(place)
        self._places = {
            kind: np.array(found) for kind, found in places.items() if len(found) >= recipe.batch_asked
        }

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        """Yield the kind and the batch of each step; a kind without text is replaced by sentences."""
        for step in count(self._start):
            self._rng.seed(self._recipe.seed * 1_000_003 + step)
            kind = self._recipe.pattern[step % len(self._recipe.pattern)]
            batch = self._draw(kind)
            yield (kind, batch) if batch is not None else ("s", self._translations("s"))

    def _draw(self, kind: str) -> Batch | None:
        if kind in "sp":
            return self._translations(kind) if kind == "s" or any(self._corpus.passages.values()) else None
        if kind == "u":
            return self._questions_alone()
        return self._within() if kind == "k" else self._mixed()

    def _translations(self, kind: str) -> Translations:
        """Return pairs of like length; every language is drawn from as often, if it has the text."""
        rng, long = self._rng, kind == "p"
        pairs = self._corpus.passages if long else self._corpus.sentences
        size = self._recipe.batch_passages if long else self._recipe.batch_sentences
        languages = [own for own in pairs.values() if own]
        each = -(-_DRAWN * size // len(languages))
        rows = [pair for own in languages for pair in rng.sample(own, min(len(own), each))]
        rows.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        start = rng.randrange(max(1, len(rows) // size)) * size
        query = not long and rng.random() < 0.5
        return Translations(rows[start : start + size], "query" if query else "document", long)

    def _within(self) -> Questions | None:
        languages = sorted({a for a, b, _ in self._places if a == b})
        if not languages:
            return None
        language = self._rng.choice(languages)
        real = self._places.get((language, language, True), np.empty(0, np.int64))
        headings = self._places.get((language, language, False), np.empty(0, np.int64))
        # Languages with few real questions see more headings instead of the same questions again.
        share = 0.85 if len(real) > 1000 else 0.6 if len(real) > 200 else 0.4
        pool = real if len(real) and (self._rng.random() < share or not len(headings)) else headings
        return self._near(pool, language)

    def _mixed(self) -> Questions | None:
        same = [kind for kind in self._places if kind[0] == kind[1] and kind[2]]
        across = [kind for kind in self._places if kind[0] != kind[1]]
        kinds = same if same and (self._rng.random() < 0.5 or not across) else across
        if not kinds:
            return None
        chosen = self._rng.sample(kinds, min(len(kinds), 8))
        return self._near(np.concatenate([self._some(self._places[kind], _MIXED) for kind in chosen]), "")

    def _questions_alone(self) -> Alone | None:
        if not self._alone:
            return None
        language = self._rng.choice(sorted(self._alone))
        vectors, size = self._alone[language], self._recipe.batch_questions
        seed = self._rng.randrange(len(vectors))
        near = np.argsort(-(vectors @ vectors[seed]).astype(np.float32))[: 4 * size]
        chosen = [seed, *self._rng.sample([int(place) for place in near if place != seed], size - 1)]
        return Alone([self._corpus.questions[language][place] for place in chosen])

    def _near(self, pool: NDArray[np.int64], language: str) -> Questions:
        """Return a batch around one passage: half of it drawn from its nearest, half from the whole pool."""
        rng, size = self._rng, self._recipe.batch_asked
        seed = int(rng.choice(pool))
        cosines = self._passages[pool].astype(np.float32) @ self._passages[seed].astype(np.float32)
        near = [int(place) for place in pool[np.argsort(-cosines)[: 2 * size + 1]] if place != seed]
        chosen = dict.fromkeys([seed, *rng.sample(near, min(len(near), size // 2))])
        for place in self._some(pool, 2 * size):
            if len(chosen) < size:
                chosen.setdefault(int(place))
        places = list(chosen)
        questions = self._questions[places].astype(np.float32)
        scores = questions @ self._passages[places].astype(np.float32).T
        return Questions([self._corpus.asked[place] for place in places], language, scores)

    def _some(self, places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        if len(places) <= most:
            return places
        chosen: Sequence[int] = self._rng.sample(range(len(places)), most)
        some: NDArray[np.int64] = places[np.array(chosen)]
        return some


def _half(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    return vectors.astype(np.float16)
