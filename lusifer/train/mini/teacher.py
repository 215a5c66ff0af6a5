"""Vectors of an English teacher for the English sides of the training pairs, computed once and kept.

Knows a sentence-transformers folder with a BERT and mean pooling. Must not know the student.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lusifer.errors import TrainingError
from lusifer.train.mini.corpus import TRANSLATED, clean
from lusifer.train.mini.prepare import find_tsv

_SHARD = 20_000


@dataclass(frozen=True, slots=True)
class TeacherVectors:
    """Unit vectors of texts, found by the hash of the normalised text.

    Attributes:
        keys: sorted, shape (texts,).
        vectors: float16, shape (texts, d).
    """

    keys: NDArray[np.int64]
    vectors: NDArray[np.float16]

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    def find(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return which of the given texts the teacher knows (rows) and their vectors (rows, d)."""
        if len(self.keys) == 0:
            return np.empty(0, np.int64), np.empty((0, self.width), np.float32)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        rows = np.flatnonzero(self.keys[places] == keys)
        return rows, self.vectors[places[rows]].astype(np.float32)


def english_texts(folder: Path, *, characters: int, seed: int) -> dict[int, str]:
    """Return distinct English sides of at most ``characters``, in a shuffled order, by the hash of each."""
    texts: dict[int, str] = {}
    for stem in [name for code in TRANSLATED for name in (code, f"{code}.words")]:
        path = find_tsv(folder / "train", stem)
        if path is not None:
            for pair in clean(path, stem.split(".")[0], None):
                if len(pair.left) <= characters:
                    texts.setdefault(pair.left_key, pair.left)
    order = sorted(texts)
    random.Random(seed).shuffle(order)
    return {key: texts[key] for key in order}


def teach(
    model: Path, texts: dict[int, str], cache: Path, *, report: Callable[[str], None] = lambda _: None
) -> TeacherVectors:
    """Embed texts with the teacher, shard by shard; shards already in ``cache`` are kept.

    Raises:
        TrainingError: the folder holds no model that can be read.
    """
    cache.mkdir(parents=True, exist_ok=True)
    keys = list(texts)
    embed = None
    for number, start in enumerate(range(0, len(keys), _SHARD)):
        path = cache / f"{number:05}.npz"
        if path.is_file():
            continue
        embed = embed or _load(model)
        part = keys[start : start + _SHARD]
        vectors = embed([texts[key] for key in part])
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, keys=np.array(part, np.int64), vectors=vectors)
        partial.rename(path)
        report(f"teacher: {min(start + _SHARD, len(keys)):,} of {len(keys):,} texts")
    return load_vectors(cache)


def load_vectors(cache: Path) -> TeacherVectors:
    """Read every shard of a cache folder."""
    shards = [np.load(path) for path in sorted(cache.glob("*.npz"))]
    if not shards:
        raise TrainingError(f"no teacher vectors in {cache}", hint="compute them first")
    keys = np.concatenate([shard["keys"] for shard in shards])
    vectors = np.concatenate([shard["vectors"] for shard in shards])
    order = np.argsort(keys)
    return TeacherVectors(keys[order], vectors[order])


def _load(folder: Path) -> Callable[[list[str]], NDArray[np.float16]]:
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.bfloat16)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"the teacher in {folder} cannot be read: {error}", hint="give a sentence-transformers folder"
        ) from error
    model.eval()

    def embed(texts: list[str]) -> NDArray[np.float16]:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), model.config.hidden_size), np.float16)
        for rows in _blocks(order, 256):
            tokens = tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"][:, :, None].float()
            pooled = functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
            vectors[rows] = pooled.numpy().astype(np.float16)
        return vectors

    return embed


def _blocks(order: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
