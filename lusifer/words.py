"""Tokenise words once: a memory of word to token ids, for tokenizers whose words do not touch each other.

Most words of a text were seen before, and looking them up is many times faster than tokenising them again.
Only tokenizers proven to cut at white space first are remembered for; the ids are always the tokenizer's own.
Must not know vectors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.tokens import encode

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
