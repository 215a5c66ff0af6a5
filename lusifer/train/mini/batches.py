"""Draw training batches from prepared pair sets: which set, which rows, as flat token arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.languages import CODES
from lusifer.errors import TrainingError
from lusifer.train.mini.corpus import GENERAL_SOURCES
from lusifer.train.mini.prepare import PairSet, Side, load_set, pivot_pairs
from lusifer.train.mini.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts as tokens: flat ids, where each text begins, and their identity.

    Attributes:
        ids: shape (tokens,).
        starts: shape (texts,); a text ends where the next begins.
        keys: shape (texts,); equal texts have equal keys.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    keys: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Row i of ``left`` belongs to row i of ``right``; ``kind`` is sentences, words, pivot or passages."""

    kind: str
    name: str
    left: Texts
    right: Texts


@dataclass(slots=True)
class _Source:
    """Rows of two sides that belong together, walked through in a new random order each time.

    ``weight`` is how often it is drawn, relative to others of its kind.
    """

    kind: str
    name: str
    left: Side
    right: Side
    left_rows: NDArray[np.int64]
    right_rows: NDArray[np.int64]
    batch: int
    rng: np.random.Generator
    weight: float
    cursor: int = 0

    def draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        size = min(self.batch, len(self.left_rows))
        if self.cursor == 0 or self.cursor + size > len(self.left_rows):
            order = self.rng.permutation(len(self.left_rows))
            self.left_rows, self.right_rows = self.left_rows[order], self.right_rows[order]
            self.cursor = 0
        chosen = slice(self.cursor, self.cursor + size)
        self.cursor += size
        return self.left_rows[chosen], self.right_rows[chosen]


class Sampler:
    """Endless batches, one language pair each, by the recipe's shares.

    A kind is drawn by its share, a language pair of that kind by its number of pairs to the power of
    ``language_exponent``, and of translations and words one source of text, so that the negatives of a batch
    are of one domain and cannot be told apart by their domain. Draws depend on the seed and on ``start``: a
    run resumed at another step goes on with the same mixture in a new order.
    """

    def __init__(self, caches: list[Path], recipe: Recipe, *, start: int = 0) -> None:
        self._recipe = recipe
        self._rng = np.random.default_rng([recipe.seed, start])
        sources = list(self._sources([load_set(path) for path in caches]))
        if not sources:
            raise TrainingError("no training pairs were found", hint="the data folder needs train/*.tsv.xz")
        self._sources_by_kind: dict[str, list[_Source]] = {}
        for source in sources:
            self._sources_by_kind.setdefault(source.kind, []).append(source)
        self._kinds = list(self._sources_by_kind)
        shares = np.array([getattr(recipe, f"share_{kind}") for kind in self._kinds])
        self._kind_weights = shares / shares.sum()
        self._weights = {
            kind: _normalise([source.weight for source in group])
            for kind, group in self._sources_by_kind.items()
        }

    def __iter__(self) -> Iterator[Batch]:
        while True:
            kind = self._kinds[self._rng.choice(len(self._kinds), p=self._kind_weights)]
            group = self._sources_by_kind[kind]
            source = group[self._rng.choice(len(group), p=self._weights[kind])]
            left_rows, right_rows = source.draw()
            dropout, neighbours = self._recipe.token_dropout, 0
            if kind in ("sentences", "pivot") and self._rng.random() < self._recipe.window_share:
                neighbours = self._recipe.window_neighbours
            yield Batch(
                kind,
                source.name,
                gather(source.left, left_rows, dropout, self._rng),
                gather(source.right, right_rows, dropout, self._rng, neighbours=neighbours),
            )

    def describe(self) -> dict[str, int]:
        """Return the number of pairs of each kind."""
        return {
            kind: sum(len(source.left_rows) for source in group)
            for kind, group in self._sources_by_kind.items()
        }

    def _sources(self, sets: list[PairSet]) -> Iterator[_Source]:
        recipe = self._recipe
        sentences: dict[str, PairSet] = {}
        for pairs in sets:
            kind, batch = _kind(pairs.name, recipe)
            if len(pairs) == 0 or getattr(recipe, f"share_{kind}") == 0:
                continue
            if kind == "sentences":
                sentences[pairs.name] = pairs
            weight = len(pairs) ** recipe.language_exponent
            groups = [(np.arange(len(pairs)), 1.0)] if kind == "passages" else _by_source(pairs, recipe)
            for rows, share in groups:
                yield _Source(
                    kind, pairs.name, pairs.left, pairs.right, rows, rows, batch, self._rng, weight * share
                )
        if recipe.share_pivot == 0:
            return
        for first, second in combinations((code for code in CODES if code in sentences), 2):
            left_rows, right_rows = pivot_pairs(sentences[first], sentences[second])
            if len(left_rows):
                yield _Source(
                    "pivot",
                    f"{first}-{second}",
                    sentences[first].right,
                    sentences[second].right,
                    left_rows,
                    right_rows,
                    recipe.batch_sentences,
                    self._rng,
                    len(left_rows) ** recipe.language_exponent,
                )


def gather(
    side: Side, rows: NDArray[np.int64], dropout: float, rng: np.random.Generator, *, neighbours: int = 0
) -> Texts:
    """Collect the tokens of some rows of a side as texts.

    Args:
        side: all texts.
        rows: which, shape (texts,).
        dropout: share of the tokens left out; one of each text stays.
        rng: draws them.
        neighbours: up to so many rows before and after belong to the text as well, their number drawn for
            each. The rows of a file mostly follow each other in their document, so this makes a passage of a
            sentence.
    """
    first, last = rows, rows
    if neighbours:
        first = np.maximum(rows - rng.integers(0, neighbours + 1, len(rows)), 0)
        last = np.minimum(rows + rng.integers(0, neighbours + 1, len(rows)), len(side) - 1)
    begins, ends = side.offsets[first], side.offsets[last + 1]
    lengths = ends - begins
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    index = np.arange(int(lengths.sum())) + np.repeat(begins - starts, lengths)
    ids = side.ids[index].astype(np.int64)
    if dropout > 0 and len(ids):
        keep = rng.random(len(ids)) >= dropout
        keep[starts[lengths > 0]] = True
        owners = np.repeat(np.arange(len(rows)), lengths)[keep]
        ids = ids[keep]
        starts = np.searchsorted(owners, np.arange(len(rows)))
    return Texts(ids, starts, side.keys[rows])


def sample_sides(caches: list[Path], count: int, *, seed: int) -> list[Texts]:
    """Return up to ``count`` texts of each side of each set of words; of every set where there are none."""
    words = [path for path in caches if path.stem.endswith(".words")]
    rng = np.random.default_rng(seed)
    texts = []
    for path in words or caches:
        pairs = load_set(path)
        rows = rng.choice(len(pairs), min(count, len(pairs)), replace=False)
        texts += [gather(side, rows, 0.0, rng) for side in (pairs.left, pairs.right) if len(rows)]
    return texts


def _by_source(pairs: PairSet, recipe: Recipe) -> list[tuple[NDArray[np.int64], float]]:
    """Split a set's rows by source, with their shares; small sources of one sort stay together."""
    groups: dict[tuple[bool, str], list[NDArray[np.int64]]] = {}
    for code, name in enumerate(pairs.source_names):
        rows = np.flatnonzero(pairs.sources == code)
        alone = name if len(rows) >= recipe.source_pairs else ""
        groups.setdefault((name in GENERAL_SOURCES, alone), []).append(rows)
    joined = [(general, np.concatenate(parts)) for (general, _), parts in groups.items()]
    weights = _normalise(
        [
            (recipe.general_weight if general else 1.0) * len(rows) ** recipe.source_exponent
            for general, rows in joined
        ]
    )
    return [(rows, float(weight)) for (_, rows), weight in zip(joined, weights, strict=True)]


def _kind(name: str, recipe: Recipe) -> tuple[str, int]:
    if name.startswith("asym."):
        return "passages", recipe.batch_passages
    if name.endswith((".words", ".names")):
        return "words", recipe.batch_words
    return "sentences", recipe.batch_sentences


def _normalise(values: list[float]) -> NDArray[np.float64]:
    weights = np.array(values, dtype=np.float64)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
