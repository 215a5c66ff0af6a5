"""The English text the experiment learns from, cleaned of evaluation text and kept on disk.

Knows the data folder. Must not know tokenizers or models.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lusifer.errors import DataError
from lusifer.train.mini.corpus import GENERAL_SOURCES, TRANSLATED, Overlap, clean
from lusifer.train.mini.prepare import find_tsv


@dataclass(frozen=True, slots=True)
class EnglishText:
    """What there is to learn from; no text of the evaluation sets is in it.

    Attributes:
        sentences: distinct, in random order, as many of general language as of documentation and interfaces
            where there are enough.
        pairs: questions (or titles) and passages that answer them.
    """

    sentences: list[str]
    pairs: list[tuple[str, str]]


def read_english(data: Path, cache: Path, *, characters: int, seed: int) -> EnglishText:
    """Read the English sides of the translations, and the English questions with passages.

    Args:
        data: holds ``train/``, ``asym/`` and (to be kept out) ``dev/``.
        cache: file that keeps the result, made if missing; it is for one seed and length.
        characters: longer sentences are left out.
        seed: of the order.

    Raises:
        DataError: there is no such text.
    """
    if not cache.is_file():
        overlap = Overlap.of_dev(data) if (data / "dev").is_dir() else None
        text = {
            "sentences": _balance(_sentences(data, overlap, characters), seed),
            "pairs": list(_pairs(data, overlap)),
        }
        if not text["sentences"] or not text["pairs"]:
            raise DataError(
                f"{data} holds no English text", hint="it needs train/<language>.tsv and asym/en-en.tsv"
            )
        partial = cache.with_suffix(".partial")
        partial.write_text(json.dumps(text, ensure_ascii=False), encoding="utf-8")
        partial.rename(cache)
    kept = json.loads(cache.read_text(encoding="utf-8"))
    return EnglishText(kept["sentences"], [(asked, answered) for asked, answered in kept["pairs"]])


def _sentences(data: Path, overlap: Overlap | None, characters: int) -> dict[str, bool]:
    """Return distinct sentences, and whether each is of general language."""
    found: dict[int, tuple[str, bool]] = {}
    for language in TRANSLATED:
        path = find_tsv(data / "train", language)
        for pair in clean(path, language, overlap) if path is not None else ():
            if len(pair.left) <= characters:
                found.setdefault(pair.left_key, (pair.left, pair.source in GENERAL_SOURCES))
    return dict(found.values())


def _balance(sentences: dict[str, bool], seed: int) -> list[str]:
    """Shuffle, and take one sentence of either sort in turn until one sort is used up."""
    general = [text for text, kind in sentences.items() if kind]
    other = [text for text, kind in sentences.items() if not kind]
    rng = random.Random(seed)
    rng.shuffle(general)
    rng.shuffle(other)
    size = min(len(general), len(other)) or max(len(general), len(other))
    mixed = general[:size] + other[:size]
    rng.shuffle(mixed)
    return mixed


def _pairs(data: Path, overlap: Overlap | None) -> Iterator[tuple[str, str]]:
    path = find_tsv(data / "asym", "en-en")
    for pair in clean(path, "en", overlap, symmetric=False) if path is not None else ():
        yield pair.left, pair.right
