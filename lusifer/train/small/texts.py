"""Choose what lusifer-small learns from: sentences, passages, questions, balanced by language and by source.

Reads a data folder (``train/``, ``questions/``, ``asym/``; texts of ``dev/`` are kept out) with the readers
of lusifer-mini's corpus, and keeps only strings.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

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
from lusifer.train.small.recipe import SmallRecipe

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
