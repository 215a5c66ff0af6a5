"""What lusifer-small learns from and in which batches: its recipe, the texts chosen, how they are drawn.

The recipe is read from a TOML file. Texts come from a data folder (``train/``, ``questions/``, ``asym/``;
those of ``dev/`` are kept out), balanced by language and source. Batches have texts of like length and
passages of like topic; which those are is asked of lusifer-mini's table: it is fast, and a passage of
another language on the same matter is near there too, so that mixed batches are as hard as those of one
language.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from lusifer.config import PromptKind, configuration
from lusifer.embedder import TextEmbedder
from lusifer.errors import DataError
from lusifer.train.mini.corpus import (
    GENERAL_SOURCES,
    TRANSLATED,
    Overlap,
    Pair,
    clean,
    normalise_key,
    read_tsv,
)
from lusifer.train.run import SEED, Share, make_settings, read_toml

RECIPES = Path(__file__).parent / "recipes"


@configuration
class SmallRecipe:
    """One training run.

    Attributes:
        seed: of sampling.
        vocabulary: pieces kept of the source's vocabulary, unless single characters alone are more.
        steps: optimiser steps.
        learning_rate: of AdamW, at its peak.
        warmup: share of the steps in which it rises.
        pattern: the kinds of steps, one letter each, in turn: ``s`` sentences, ``p`` passages,
            ``k`` questions within a language, ``m`` questions in mixed languages, ``u`` questions without
            passages.
        temperature: of the contrastive losses.
        temperature_scores: of the losses that compare the model's scores with the teacher's.
        table: share of lusifer-mini's cosine in the scores that are aimed at within a language.
        batch_sentences: pairs in a batch of sentences; the next three likewise.
        batch_passages: pairs.
        batch_asked: questions with their passages.
        batch_questions: questions.
        tokens_sentence: longer ones are cut; the next three likewise.
        tokens_passage: of parallel passages.
        tokens_question: of questions.
        tokens_answer: of passages that answer.
        sentences: pairs a language, half of them of general sources.
        per_wide_source: pairs a general source, at most.
        per_narrow_source: pairs a narrow source, at most.
        shortest: characters of the shortest English side.
        short: below so many characters only half of the pairs are taken.
        longest: characters of the longest English side.
        parallel_questions: pairs a language.
        words: words and phrases a language.
        passages: parallel passages a language made of sentences, and half as many real ones.
        passage_shortest: characters of the English side of the shortest passage.
        passage_longest: of the longest; others are cut or left out.
        stories: texts of Bible stories a file, which are many versions of little.
        per_question_source: real questions a source and file.
        per_heading_source: headings a source and file.
        calibration_texts: texts a language for calibration.
        checkpoint_minutes: time between checkpoints.
    """

    seed: int = SEED
    vocabulary: PositiveInt = 90_000
    steps: PositiveInt = 4_000
    learning_rate: NonNegativeFloat = 5e-5
    warmup: Share = 0.03
    pattern: str = "skspsmkspskusmkp"
    temperature: NonNegativeFloat = 0.03
    temperature_scores: NonNegativeFloat = 0.02
    table: NonNegativeFloat = 0.3
    batch_sentences: PositiveInt = 72
    batch_passages: PositiveInt = 14
    batch_asked: PositiveInt = 16
    batch_questions: PositiveInt = 32
    tokens_sentence: PositiveInt = 96
    tokens_passage: PositiveInt = 256
    tokens_question: PositiveInt = 48
    tokens_answer: PositiveInt = 176
    sentences: PositiveInt = 15_000
    per_wide_source: PositiveInt = 3_500
    per_narrow_source: PositiveInt = 450
    shortest: PositiveInt = 10
    short: PositiveInt = 25
    longest: PositiveInt = 300
    parallel_questions: NonNegativeInt = 3_500
    words: NonNegativeInt = 1_000
    passages: PositiveInt = 2_400
    passage_shortest: PositiveInt = 200
    passage_longest: PositiveInt = 900
    stories: NonNegativeInt = 160
    per_question_source: PositiveInt = 5_000
    per_heading_source: PositiveInt = 350
    calibration_texts: PositiveInt = 34
    checkpoint_minutes: NonNegativeFloat = 7.0

    @classmethod
    def read(cls, path: Path, **changes: object) -> SmallRecipe:
        """Read a recipe; ``changes`` that are not None replace its values.

        Raises:
            ConfigError: the file cannot be read or a field is wrong.
        """
        values = read_toml(path, examples=RECIPES)
        values.update({name: value for name, value in changes.items() if value is not None})
        return make_settings(cls, values, path)


#: Texts about questions that come in many versions of few stories.
_STORIES = "open-bible-stories"
_WIDE = GENERAL_SOURCES | {
    "freecodecamp",
    "wikimedia",
    "lobe-agents",
    "mozorg",
    "hedy",
    "pkp",
    "mozilla-l10n",
}

T = TypeVar("T")
Translation = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, a heading or a title, and the passage that answers or follows it."""

    question_language: str
    passage_language: str
    real: bool
    question: str
    passage: str


@dataclass
class Corpus:
    """What is learnt from; by the code of the language that is not English.

    Attributes:
        sentences: English and its translation.
        passages: the same at the length of a paragraph.
        asked: questions and headings with their passages, in any two languages.
        questions: people's questions without a passage, by their language.
    """

    sentences: dict[str, list[Translation]] = field(default_factory=dict)
    passages: dict[str, list[Translation]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    questions: dict[str, list[str]] = field(default_factory=dict)

    def texts(self) -> Iterator[str]:
        """Yield every text once or more, to count pieces."""
        for pairs in (*self.sentences.values(), *self.passages.values()):
            for pair in pairs:
                yield from pair
        for asked in self.asked:
            yield asked.question
            yield asked.passage
        for questions in self.questions.values():
            yield from questions


def read_corpus(data: Path, recipe: SmallRecipe) -> Corpus:
    """Choose the training text of a data folder.

    Raises:
        DataError: it holds no parallel text, or a file of it cannot be read.
    """
    rng = random.Random(recipe.seed)
    overlap = Overlap.of_dev(data) if (data / "dev").is_dir() else None
    corpus = Corpus()
    for language in TRANSLATED:
        by_source = _translations(data, language, recipe, overlap)
        parallel = list(_optional(data / "questions", f"parallel.en-{language}", language, overlap))
        if by_source or parallel:
            corpus.sentences[language] = _sentences(data, language, by_source, recipe, overlap, rng)
            corpus.passages[language] = _passages(by_source, parallel, recipe, rng)
    if not any(corpus.sentences.values()):
        raise DataError(
            f"{data} holds no training text",
            hint="it needs files such as train/fr.tsv.xz (source, English, French)",
        )
    for folder, real in (("questions", True), ("asym", False)):
        corpus.asked += _asked(data / folder, real, recipe, overlap, rng)
    for path in sorted((data / "questions").glob("unpaired.*.tsv*")):
        language = path.name.split(".")[1]
        corpus.questions[language] = [
            pair.right
            for pair in _two_columns(path)
            if overlap is None or normalise_key(pair.right) not in overlap
        ]
    return corpus


def _find(folder: Path, stem: str) -> Path | None:
    return next((path for end in (".tsv.xz", ".tsv") if (path := folder / f"{stem}{end}").is_file()), None)


def _optional(folder: Path, stem: str, language: str, overlap: Overlap | None) -> Iterator[Pair]:
    path = _find(folder, stem)
    if path is not None:
        yield from clean(path, language, overlap)


def _two_columns(path: Path) -> Iterator[Pair]:
    """Yield source and question of a file of two columns."""
    import lzma

    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            source, _, question = line.rstrip("\n").partition("\t")
            yield Pair(source, "", question)


def _translations(
    data: Path, language: str, recipe: SmallRecipe, overlap: Overlap | None
) -> dict[str, list[Translation]]:
    """Return translations by source, in the file's order; each English text once."""
    seen: set[int] = set()
    by_source: dict[str, list[Translation]] = defaultdict(list)
    for pair in _optional(data / "train", language, language, overlap):
        if recipe.shortest <= len(pair.left) <= recipe.longest and pair.left_key not in seen:
            seen.add(pair.left_key)
            by_source[pair.source].append((pair.left, pair.right))
    return by_source


def _sentences(
    data: Path,
    language: str,
    by_source: dict[str, list[Translation]],
    recipe: SmallRecipe,
    overlap: Overlap | None,
    rng: random.Random,
) -> list[Translation]:
    half = recipe.sentences // 2
    wide: list[Translation] = []
    narrow: list[Translation] = []
    for source, pairs in by_source.items():
        most = recipe.per_wide_source if source in _WIDE else recipe.per_narrow_source
        # Short interface strings say little: half as many of them.
        chosen = [x for x in _some(pairs, most, rng) if len(x[0]) >= recipe.short or rng.random() < 0.5]
        (wide if source in _WIDE else narrow).extend(chosen)
    chosen = _some(wide, half, rng) + _some(narrow, half, rng)
    asked = [
        (p.left, p.right)
        for p in _optional(data / "questions", f"parallel-questions.en-{language}", language, overlap)
    ]
    words = [
        (p.left, p.right)
        for p in _optional(data / "train", f"{language}.words", language, None)
        if len(p.left) > 3
    ]
    return chosen + _some(asked, recipe.parallel_questions, rng) + _some(words, recipe.words, rng)


def _passages(
    by_source: dict[str, list[Translation]], parallel: Iterable[Pair], recipe: SmallRecipe, rng: random.Random
) -> list[Translation]:
    """Return parallel passages: those there are, and neighbouring sentences of one source put together."""
    least, most = recipe.passage_shortest, recipe.passage_longest
    whole = [pair for pair in parallel if least <= len(pair.left) <= 3 * most // 2]
    stories = [(p.left, p.right) for p in whole if p.source == _STORIES]
    general = [(p.left, p.right) for p in whole if p.source != _STORIES]
    made: list[Translation] = []
    for source, pairs in by_source.items():
        sentences = [pair for pair in pairs if len(pair[0]) >= recipe.short]
        if len(sentences) < 2:
            continue
        count = recipe.per_wide_source // 7 if source in _WIDE else recipe.per_narrow_source // 4
        for start in rng.sample(range(len(sentences)), min(len(sentences), count)):
            joined = _join(sentences[start : start + 9], rng.randint(least, most))
            if len(joined[0]) >= least:
                made.append(joined)
    return (
        _some(general, recipe.passages // 2, rng)
        + _some(stories, recipe.stories, rng)
        + _some(made, recipe.passages, rng)
    )


def _join(pairs: list[Translation], characters: int) -> Translation:
    english, other = "", ""
    for left, right in pairs:
        if len(english) >= characters:
            break
        english, other = f"{english} {left}".strip(), f"{other} {right}".strip()
    return english, other


def _asked(
    folder: Path, real: bool, recipe: SmallRecipe, overlap: Overlap | None, rng: random.Random
) -> list[Asked]:
    found = []
    for path in sorted(folder.glob("??-??.tsv*")):
        asks, answers = path.name[:2], path.name[3:5]
        by_source: dict[str, list[Asked]] = defaultdict(list)
        for pair in read_tsv(path):
            if len(pair.left) < 8 or len(pair.right) < 80:
                continue
            if overlap and (normalise_key(pair.left) in overlap or normalise_key(pair.right) in overlap):
                continue
            item = Asked(asks, answers, real, pair.left, pair.right[: recipe.passage_longest])
            by_source[pair.source].append(item)
        for source, items in by_source.items():
            most = recipe.per_question_source if real else recipe.per_heading_source
            found += _some(items, recipe.stories if source == _STORIES else most, rng)
    return found


def _some(items: list[T], most: int, rng: random.Random) -> list[T]:
    return items if len(items) <= most else rng.sample(items, most)


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
