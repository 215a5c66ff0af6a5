"""A model folded into one table of token vectors: text in, unit vectors out, with numpy and no torch.

A token table, a connector and a language model of zero layers treat every token alone, so they fold into one
row per token; a text is the normalised sum of its tokens' rows. Must not know how rows were learnt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.checkpoints.mapped import TensorInfo, map_tensor, read_header
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError
from lusifer.tokenization import encode, warn_if_cut
from lusifer.vectors import normalise

# Tokenise words once: a memory of word to token ids, for tokenizers whose words do not touch each other.


#: Words in each of the two generations that are remembered; about 200 bytes each.
_CAPACITY = 1 << 17
#: Longer ones (addresses, encoded data) are tokenised each time.
_LONGEST_WORD = 40

#: What ``str.split`` cuts at.
_SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
#: Python splits at these, tokenizers do not.
_ODD_SPACES = re.compile("[\x1c-\x1f]")
_CHARACTER_CLASS = re.compile(r"\[[^\[\]\\^]+\]")

Ids = NDArray[np.int32]


class WordTokenizer:
    """Texts to token ids, without special tokens but those spelt out in them, nothing cut.

    Safe to share between threads.

    Args:
        tokenizer: any; one that is not word by word is simply called.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._recent: dict[str, bytes] = {}
        self._older: dict[str, bytes] = {}
        self._by_word = is_word_by_word(tokenizer)

    def __call__(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, int32."""
        if not self._by_word:
            return [np.array(encoding.ids, np.int32) for encoding in encode(self.tokenizer, texts)]
        split = [_split(text) for text in texts]
        recent = self._recent
        parts: list[list[bytes | None]] = [list(map(recent.get, words)) for words in split]
        gaps = [index for index, found in enumerate(parts) if None in found]
        if gaps:
            unseen = {
                word for index in gaps for word, ids in _pair(split[index], parts[index]) if ids is None
            }
            learnt = self._learn(unseen)
            for index in gaps:
                parts[index] = [
                    learnt[word] if ids is None else ids for word, ids in _pair(split[index], parts[index])
                ]
        return [np.frombuffer(b"".join(cast("list[bytes]", found)), np.int32) for found in parts]

    def _learn(self, words: set[str]) -> dict[str, bytes]:
        """Return the ids of words that were not seen lately, as bytes, and remember them."""
        recent, older = self._recent, self._older
        learnt = {word: ids for word in words if (ids := older.get(word)) is not None}
        unseen = list(words - learnt.keys())
        for word, encoding in zip(unseen, encode(self.tokenizer, unseen), strict=True):
            learnt[word] = np.array(encoding.ids, np.int32).tobytes()
        # Another thread may swap the generations meanwhile: a word is then learnt twice, never wrongly.
        if len(recent) + len(learnt) > _CAPACITY:
            recent = {}
            self._recent, self._older = recent, self._recent
        recent.update((word, ids) for word, ids in learnt.items() if len(word) <= _LONGEST_WORD)
        return learnt


def _pair(words: list[str], found: list[bytes | None]) -> Iterator[tuple[str, bytes | None]]:
    return zip(words, found, strict=True)


def _split(text: str) -> list[str]:
    return [text] if _ODD_SPACES.search(text) else text.split()


def is_word_by_word(tokenizer: Tokenizer) -> bool:
    """Tell whether the ids of a text are those of its words, split at white space, one after another.

    True only for steps known to work so; an unknown one makes it false.
    """
    added = tokenizer.get_added_tokens_decoder().values()
    if any(token.lstrip or token.rstrip or any(map(str.isspace, token.content)) for token in added):
        return False
    splitters = _steps(tokenizer.pre_tokenizer, "pretokenizers")
    return (
        any(step["type"] == "WhitespaceSplit" for step in splitters)
        and all(map(_splits_within_words, splitters))
        and all(map(_rewrites_within_words, _steps(tokenizer.normalizer, "normalizers")))
    )


def _steps(part: Any, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    state: dict[str, Any] = json.loads(part.__getstate__())
    return state[key] if state["type"] == "Sequence" else [state]


def _splits_within_words(step: dict[str, Any]) -> bool:
    kind = step["type"]
    return (
        kind in ("WhitespaceSplit", "Digits")
        or (kind == "Metaspace" and step.get("prepend_scheme") == "always")
        or (kind == "Punctuation" and step.get("behavior") == "Isolated")
    )


def _rewrites_within_words(step: dict[str, Any]) -> bool:
    """Tell whether a normaliser leaves the bounds between words alone."""
    if step["type"] in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        return True
    if step["type"] != "Replace":
        return False
    return not any(map(_is_matched_by(step["pattern"]), _SPACES))


def _is_matched_by(pattern: dict[str, str]) -> Any:
    """Return a test of what a pattern of one character matches; any longer pattern may match anything."""
    if "String" in pattern:
        text = pattern["String"]
        return text.__eq__ if len(text) == 1 else bool
    expression = pattern.get("Regex", "")
    return re.compile(expression).fullmatch if _CHARACTER_CLASS.fullmatch(expression) else bool


#: Texts tokenised at once: bounds memory, and keeps every core of the tokenizer busy.
_BLOCK = 1024


class StaticTable:
    """The folded model.

    Args:
        config: what the table is a fold of.
        table: one row per token, ``(vocabulary, dimensions)``, int8 or floating point.
        scale: factor of each row, ``(vocabulary,)``; None for 1.
        words: text to token ids.
    """

    def __init__(
        self,
        config: ModelConfig,
        table: NDArray[Any],
        scale: NDArray[Any] | None,
        words: WordTokenizer,
    ) -> None:
        self.config = config
        self._words = words
        self._table = table
        rows = len(table)
        self._scale = np.ones(rows, np.float32) if scale is None else np.asarray(scale, np.float32)

    @classmethod
    def open(cls, folder: Path, config: ModelConfig, words: WordTokenizer) -> StaticTable:
        """Map the table of a checkpoint folder into memory.

        Raises:
            CheckpointError: a tensor is missing, misshapen or of a type the format does not allow.
        """
        path = folder / "model.safetensors"
        header = read_header(path)
        shape = (config.encoder.vocabulary, config.dimensions)
        table = _tensor(path, header, "table", shape, ("I8", "F16", "F32"))
        scale = None
        if table.dtype == np.int8 or "scale" in header:
            scale = _tensor(path, header, "scale", shape[:1], ("F16", "F32"))
        extra = sorted(set(header) - {"table", "scale"})
        if extra:
            raise CheckpointError(f"{path} holds the unknown tensor {extra[0]}", hint="copy the folder again")
        pieces = words.tokenizer.get_vocab_size()
        if pieces > shape[0]:
            raise CheckpointError(
                f"{folder / 'tokenizer.json'} has {pieces} pieces, the table {shape[0]} rows",
                hint="tokenizer and weights belong to different models; copy the folder again",
            )
        return cls(config, table, scale, words)

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return int(self._table.shape[1])

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]:
        """Return unit vectors, ``(len(texts), dimensions)``, in the order given.

        A text whose tokens carry nothing gets the fixed vector of ``lusifer.vectors.normalise``.
        """
        result = np.empty((len(texts), self.dimensions), np.float32)
        prompts, longest, trimmed = self.config.prompts, self.config.max_tokens, 0
        for start in range(0, len(texts), _BLOCK):
            block = [prompts.render(kind, text, instruction) for text in texts[start : start + _BLOCK]]
            rows = self._words(block)
            trimmed += sum(len(ids) > longest for ids in rows)
            rows = [ids[:longest] for ids in rows]
            if self.config.repeats == 1:
                for row, ids in enumerate(rows, start):
                    self._sum(ids, self._scale.take(ids), result[row])
            else:
                for row, (ids, counts) in enumerate(_distinct(rows), start):
                    weights = self._scale.take(ids) * counts**self.config.repeats
                    self._sum(ids, weights, result[row])
        warn_if_cut(trimmed, longest)
        return normalise(result)

    def _sum(self, ids: Ids, weights: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the weighed sum of the tokens' rows; one matrix-vector product: no text can touch another."""
        np.dot(weights, self._table.take(ids, axis=0).astype(np.float32), out=out)


def _distinct(rows: list[Ids]) -> list[tuple[Ids, NDArray[np.float32]]]:
    """Return the distinct ids of each text, ascending, and how often it has each; sorted all at once."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    keys = np.repeat(np.arange(len(rows)) << 32, lengths)
    keys += np.concatenate(rows) if rows else keys
    unique, counts = np.unique(keys, return_counts=True)
    bounds = np.searchsorted(unique, np.arange(1, len(rows)) << 32)
    ids = (unique & 0xFFFFFFFF).astype(np.int32)
    return list(zip(np.split(ids, bounds), np.split(counts.astype(np.float32), bounds), strict=True))


def _tensor(
    path: Path, header: dict[str, TensorInfo], name: str, shape: tuple[int, ...], types: tuple[str, ...]
) -> NDArray[Any]:
    info = header.get(name)
    if info is None:
        raise CheckpointError(f"{path} lacks the tensor {name}", hint="copy or download the file again")
    if info.shape != shape:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {list(info.shape)}, config.json wants {list(shape)}",
            hint="weights and config.json belong to different models; copy the folder again",
        )
    if info.dtype not in types:
        raise CheckpointError(f"{path}: tensor {name} has type {info.dtype}", hint=f"expected one of {types}")
    return map_tensor(path, name, info)
