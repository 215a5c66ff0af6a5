"""Cut a Unigram vocabulary to the pieces that some languages need.

Kept are the special tokens, every single character, every piece without letters (numbers, punctuation,
symbols), whatever a character occurs in only, and the pieces met most often in text of those languages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.errors import TrainingError
from lusifer.tokenization import encode
from lusifer.train.small.source import SPECIAL

_SPACE = "▁"
_BLOCK = 4096


def count_pieces(tokenizer: Tokenizer, texts: Iterable[str], into: NDArray[np.int64]) -> None:
    """Add to ``into`` how often each piece of the tokenizer occurs in the texts."""
    block: list[str] = []

    def flush() -> None:
        ids = [id_ for encoding in encode(tokenizer, block) for id_ in encoding.ids]
        into[:] += np.bincount(ids, minlength=len(into))
        block.clear()

    for text in texts:
        block.append(text)
        if len(block) == _BLOCK:
            flush()
    if block:
        flush()


def choose_pieces(pieces: Sequence[str], counts: Sequence[NDArray[np.int64]], most: int) -> list[int]:
    """Return the ids to keep, ascending.

    Args:
        pieces: the whole vocabulary.
        counts: for each language how often its text has each piece.
        most: how many ids to return, unless those that are kept in any case are more.
    """
    kept = {index for index, piece in enumerate(pieces) if piece in SPECIAL or _always(piece)}
    singles = {piece for piece in pieces if len(piece) == 1}
    for index, piece in enumerate(pieces):
        if any(letter not in singles for letter in piece):
            kept.add(index)
    # By share of its language's text, so that thin languages are not crowded out.
    share = np.zeros(len(pieces))
    for count in counts:
        np.maximum(share, count / max(1, count.sum()), out=share)
    for index in np.argsort(-share, kind="stable"):
        if len(kept) >= most or share[index] == 0:
            break
        kept.add(int(index))
    return sorted(kept)


def _always(piece: str) -> bool:
    inner = piece.removeprefix(_SPACE)
    return len(inner) <= 1 or not any(letter.isalpha() for letter in inner)


def vocabulary_of(tokenizer: Tokenizer) -> list[str]:
    """Return the pieces of a Unigram tokenizer in the order of their ids."""
    return [piece for piece, _ in json.loads(tokenizer.to_str())["model"]["vocab"]]


def cut_tokenizer(tokenizer: Tokenizer, kept: Sequence[int]) -> Tokenizer:
    """Return the tokenizer with only the pieces ``kept``, numbered anew in that order.

    Raises:
        TrainingError: it is not a Unigram tokenizer.
    """
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    if model.get("type") != "Unigram":
        raise TrainingError(f"the tokenizer is a {model.get('type')}", hint="only a Unigram one can be cut")
    new = {old: index for index, old in enumerate(kept)}
    model["vocab"] = [model["vocab"][old] for old in kept]
    model["unk_id"] = new[model["unk_id"]]
    for token in state["added_tokens"]:
        token["id"] = new[token["id"]]
    state["post_processor"] = None
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def save_compact(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer with scores of four decimals: nothing is lost that tells pieces apart."""
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in state["model"]["vocab"]]
    path.write_text(json.dumps(state, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
