"""Turn a data folder into token arrays on disk, once: clean, tokenise, store.

What it writes is a cache: any file can be deleted and is made again.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.train.mini.corpus import PIVOT, Overlap, Pair, clean, list_sets
from lusifer.train.run import Report, silent, written_aside

_BLOCK = 20_000

#: Share of the texts of a language that lose their accents before they are tokenised: people leave them out
#: when they type, and the pieces of a bare word are others than those of the word.
_BARE_SHARE = {"vi": 0.2, "es": 0.1, "fr": 0.1, "fi": 0.1}


@dataclass(frozen=True, slots=True)
class Side:
    """The texts of one side of a pair set: all tokens in a row, and where each text begins.

    Attributes:
        ids: token ids, shape (tokens,).
        offsets: shape (texts + 1,); text i is ``ids[offsets[i]:offsets[i + 1]]``.
        keys: a 64-bit hash of each normalised text, shape (texts,): equal texts are no negatives.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    keys: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs of one kind and language pair; row i of ``left`` belongs to row i of ``right``.

    Attributes:
        name: of the set, such as ``fr``, ``fr.words`` or ``asym.en-fr``.
        left: English, or the queries.
        right: the other language, or the passages.
        sources: where each pair comes from, an index into ``source_names``, shape (pairs,).
        source_names: names as in the data folder.
    """

    name: str
    left: Side
    right: Side
    sources: NDArray[np.int16]
    source_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.left)


def prepare(
    folder: Path,
    tokenizer: Tokenizer,
    cache: Path,
    *,
    max_tokens: int,
    report: Report = silent,
) -> list[Path]:
    """Clean and tokenise every pair set of a data folder into ``cache``; return the files, one for each set.

    Sets already there are kept, so an interrupted preparation goes on where it was.

    Args:
        folder: holds ``train/``, ``asym/`` and (to be kept out) ``dev/``.
        tokenizer: of the model to be trained.
        cache: where the arrays go.
        max_tokens: longer texts are cut.
        report: called with one line for each set.
    """
    cache.mkdir(parents=True, exist_ok=True)
    overlap = Overlap.of_dev(folder) if (folder / "dev").is_dir() else None
    paths = []
    for name, (source, language, symmetric) in list_sets(folder).items():
        path = cache / f"{name}.npz"
        paths.append(path)
        if path.is_file():
            continue
        pairs = drop_some_accents(clean(source, language, overlap, symmetric=symmetric), name)
        arrays = _tokenise(pairs, tokenizer, max_tokens)
        with written_aside(path) as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        report(f"{name}: {len(arrays['left_keys']):,} pairs")
    return paths


def load_set(path: Path) -> PairSet:
    """Read one prepared pair set."""
    with np.load(path) as arrays:
        left, right = (
            Side(arrays[f"{side}_ids"], arrays[f"{side}_offsets"], arrays[f"{side}_keys"])
            for side in ("left", "right")
        )
        return PairSet(path.stem, left, right, arrays["sources"], tuple(arrays["source_names"].tolist()))


def count_tokens(paths: list[Path], vocabulary: int) -> NDArray[np.int64]:
    """Count each token in the running text of prepared sets, shape (vocabulary,); word lists are left out."""
    counts = np.zeros(vocabulary, np.int64)
    for path in paths:
        if path.stem.endswith((".words", ".names")):
            continue
        pairs = load_set(path)
        for side in (pairs.left, pairs.right):
            counts += np.bincount(side.ids, minlength=vocabulary)
    return counts


def pivot_pairs(first: PairSet, second: PairSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of two translated sets whose English sides are the same text.

    So two languages that never met get pairs: both arrays have shape (pairs,).
    """
    _, rows, others = np.intersect1d(first.left.keys, second.left.keys, return_indices=True)
    return rows.astype(np.int64), others.astype(np.int64)


def without_accents(text: str) -> str:
    """Return a text in Latin script without accents: ``đường`` becomes ``duong``."""
    letters = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def drop_some_accents(pairs: Iterable[Pair], name: str) -> Iterator[Pair]:
    """Make some sides bare, chosen by their hash; ``name`` of the set tells the languages of both."""
    if name.startswith("asym."):
        left, _, right = name.removeprefix("asym.").partition("-")
    else:
        left, right = PIVOT, name.partition(".")[0]
    left_share, right_share = (_BARE_SHARE.get(code, 0.0) * 1000 for code in (left, right))
    for pair in pairs:
        if pair.left_key % 1000 < left_share:
            pair = replace(pair, left=without_accents(pair.left))
        # Of queries and passages not the same ones, so that bare ones meet whole ones.
        if pair.right_key // 1000 % 1000 < right_share:
            pair = replace(pair, right=without_accents(pair.right))
        yield pair


def _tokenise(pairs: Iterable[Pair], tokenizer: Tokenizer, max_tokens: int) -> dict[str, NDArray[np.generic]]:
    columns: dict[str, list[NDArray[np.generic]]] = {}
    sources: dict[str, int] = {}
    stream = iter(pairs)
    while block := list(islice(stream, _BLOCK)):
        codes = [sources.setdefault(pair.source, len(sources)) for pair in block]
        columns.setdefault("sources", []).append(np.array(codes, np.int16))
        for side in ("left", "right"):
            texts = [getattr(pair, side) for pair in block]
            encoded = [
                e.ids[:max_tokens] for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            ]
            lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
            flat = np.fromiter((i for ids in encoded for i in ids), np.int32, int(lengths.sum()))
            keys = np.fromiter((getattr(pair, f"{side}_key") for pair in block), np.int64, len(texts))
            for field, values in (("ids", flat), ("lengths", lengths), ("keys", keys)):
                columns.setdefault(f"{side}_{field}", []).append(values)
    arrays: dict[str, NDArray[np.generic]] = {
        "sources": np.concatenate(columns.get("sources", [np.empty(0, np.int16)])),
        "source_names": np.array(list(sources), np.str_),
    }
    for side in ("left", "right"):
        arrays[f"{side}_ids"] = np.concatenate(columns.get(f"{side}_ids", [np.empty(0, np.int32)]))
        lengths = np.concatenate(columns.get(f"{side}_lengths", [np.empty(0, np.int64)]))
        arrays[f"{side}_offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        arrays[f"{side}_keys"] = np.concatenate(columns.get(f"{side}_keys", [np.empty(0, np.int64)]))
    return arrays
