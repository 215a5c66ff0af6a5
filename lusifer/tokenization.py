"""Text to token ids, for every kind of model: robust encoding, a cache of words, a warning for cuts."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError, TruncationWarning

Ids = NDArray[np.int32]


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, without any truncation or padding stored in it.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        # A third faster than Tokenizer.from_file, which parses while it reads.
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", hint="copy the whole checkpoint folder"
        ) from error
    return parse_tokenizer(content, str(path))


def parse_tokenizer(content: bytes, origin: str) -> Tokenizer:
    """Read the content of a ``tokenizer.json``; ``origin`` names it in the error, which is the same."""
    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the Rust side raises bare Exception
        raise CheckpointError(f"{origin} is damaged: {error}", hint="copy the file again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Tokenise texts as they are: no special tokens but those spelt out in them, nothing cut.

    Lone surrogates, which no tokenizer accepts, count as U+FFFD.
    """
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except (UnicodeEncodeError, TypeError):
        repaired = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return tokenizer.encode_batch_fast(repaired, add_special_tokens=False)


def warn_if_cut(count: int, longest: int, *, depth: int = 0) -> None:
    """Warn once about the texts of a call that were cut, ``depth`` calls further out than usual."""
    if count:
        noun = "text was" if count == 1 else "texts were"
        warnings.warn(
            f"{count} {noun} longer than {longest} tokens and cut; split long texts into chunks",
            TruncationWarning,
            stacklevel=5 + depth,
        )


#: Longer ones (addresses, encoded data) are tokenised each time.
_LONGEST_WORD = 40

#: What ``str.split`` cuts at.
SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
#: Python splits at these, tokenizers do not.
_ODD_SPACES = re.compile("[\x1c-\x1f]")
_CHARACTER_CLASS = re.compile(r"\[[^\[\]\\^]+\]")


class WordTokenizer:
    """Texts to token ids, without special tokens but those spelt out in them, nothing cut.

    Safe to share between threads.

    Args:
        tokenizer: any, or how to get it when it is first needed; one that is not word by word is simply
            called.
        capacity: words in each of the two generations that are remembered; about 200 bytes each.
    """

    def __init__(self, tokenizer: Tokenizer | Callable[[], Tokenizer], capacity: int = 1 << 17) -> None:
        self._given = tokenizer
        self._capacity = capacity
        self._recent: dict[str, bytes] = {}
        self._older: dict[str, bytes] = {}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without truncation."""
        return self._given if isinstance(self._given, Tokenizer) else self._given()

    @cached_property
    def _by_word(self) -> bool:
        return is_word_by_word(self.tokenizer)

    @property
    def remembered(self) -> int:
        """How many words are remembered."""
        return len(self._recent) + len(self._older)

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
        if len(recent) + len(learnt) > self._capacity:
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
    return not any(map(_is_matched_by(step["pattern"]), SPACES))


def _is_matched_by(pattern: dict[str, str]) -> Any:
    """Return a test of what a pattern of one character matches; any longer pattern may match anything."""
    if "String" in pattern:
        text = pattern["String"]
        return text.__eq__ if len(text) == 1 else bool
    expression = pattern.get("Regex", "")
    return re.compile(expression).fullmatch if _CHARACTER_CLASS.fullmatch(expression) else bool


#: Texts of transformers tokenised at once: bounds memory, and keeps every core of the tokenizer busy.
_BLOCK = 4096


def tokenise(
    tokenizer: Tokenizer, config: ModelConfig, texts: Sequence[str], kind: PromptKind, instruction: str = ""
) -> list[list[int]]:
    """Return the token ids a model reads: prompt included, cut at the end, not padded."""
    prompts, longest = config.prompts, config.max_tokens
    rows: list[list[int]] = []
    trimmed = 0
    for start in range(0, len(texts), _BLOCK):
        block = [prompts.render(kind, text, instruction) for text in texts[start : start + _BLOCK]]
        for encoding in encode(tokenizer, block):
            ids = encoding.ids
            trimmed += len(ids) > longest
            rows.append(ids[:longest])
    warn_if_cut(trimmed, longest, depth=2)
    return rows


def batches(rows: Sequence[Sequence[int]], budget: int, multiple: int = 1) -> Iterator[list[int]]:
    """Cut texts, sorted by falling length, into batches of at most ``budget`` padded tokens.

    Args:
        rows: token ids; empty ones are in no batch.
        budget: tokens in a batch, padding included; one text is a batch however long it is.
        multiple: lengths are rounded up to this.

    Yields:
        Places of the texts in ``rows``.
    """
    order = sorted((index for index, row in enumerate(rows) if row), key=lambda index: -len(rows[index]))
    start = 0
    while start < len(order):
        count = max(1, budget // (-(-len(rows[order[start]]) // multiple) * multiple))
        yield order[start : start + count]
        start += count
