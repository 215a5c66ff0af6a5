"""Cut a document's text into passages of at most so many model tokens, on the best bounds there are.

Sections end at top-level headings, passages at paragraphs and sentences (Unicode's rules, by
semantic-text-splitter). The passages tile the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from indexer.extract.base import Heading
from store.types import HEADING_SEPARATOR

#: Part of the collection's fingerprint: raise it when the same text would be cut otherwise.
CHUNKER_VERSION = 1

MAX_TOKENS = 200

_WORD = re.compile(r"\S+")
_LONG_WORD = 40
_CACHED_WORDS = 200_000
_SPECIAL_TOKENS = 8
_LEAST_BODY = 8
_MAX_HEADING = 300


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a text: ``text[start:end]``, in characters, and the headings above it."""

    start: int
    end: int
    heading: str


def embedding_text(title: str, heading: str, text: str) -> str:
    """Return what is embedded for a passage: the document's title and the headings above it, then the text.

    Headings that repeat the title, or with which the passage itself begins, are not said twice.
    """
    above = [part for part in (title, *heading.split(HEADING_SEPARATOR)) if part]
    text = text.strip()
    kept = [part for part in dict.fromkeys(above) if not text.startswith(part)]
    return f"{HEADING_SEPARATOR.join(kept)[:_MAX_HEADING]}\n{text}" if kept else text


class Chunker:
    """Cuts texts for one model.

    Tokens are counted word by word with a memory of words seen, which is many times faster than encoding
    every candidate passage. Tokens do not span white space in the models' tokenizers, so the sum is the
    count; where one's do, it is an estimate from above.

    Args:
        count: the model's number of tokens of each text, special tokens not counted.
        max_tokens: longest passage, without the headings embedded with it.
    """

    def __init__(self, count: Callable[[list[str]], list[int]], max_tokens: int = MAX_TOKENS) -> None:
        from semantic_text_splitter import TextSplitter

        self.max_tokens = max_tokens
        self._least = max_tokens // 5
        self._count = count
        self._counts: dict[str, int] = {}
        self._splitter = TextSplitter.from_callback(self.count_tokens, max_tokens, trim=False)

    @classmethod
    def for_model(cls, count: Callable[[list[str]], list[int]], max_tokens: int) -> Chunker:
        """Return a chunker for a model that sees at most ``max_tokens``, special tokens included."""
        return cls(count, max(1, min(MAX_TOKENS, max_tokens - _SPECIAL_TOKENS)))

    def count_tokens(self, text: str) -> int:
        """Return how many of the model's tokens a text has, special tokens not counted."""
        words = text.split()
        counts = self._counts
        try:
            return sum([counts[word] for word in words])
        except KeyError:
            return self._learn(words)

    def _learn(self, words: list[str]) -> int:
        """Count the tokens of words some of which are new; very long ones are not remembered."""
        unknown = list({word for word in words if word not in self._counts})
        fresh = dict(zip(unknown, self._count(unknown), strict=True))
        total = sum(fresh[word] if word in fresh else self._counts[word] for word in words)
        if len(self._counts) > _CACHED_WORDS:
            self._counts.clear()
        self._counts.update((word, count) for word, count in fresh.items() if len(word) <= _LONG_WORD)
        return total

    def split(self, text: str, headings: Sequence[Heading] = ()) -> list[Passage]:
        """Cut a text.

        Args:
            text: the whole document.
            headings: in order of offset.

        Returns:
            Passages that tile the text in order: the first starts at 0, each next where the last ended, the
            last ends at ``len(text)``. None for a text of white space only.
        """
        if not text.strip():
            return []
        self.count_tokens(text)  # learns all its words in one batch
        ends: list[int] = []
        for start, end in _sections(text, headings):
            ends.extend(self._split_section(text, start, end))
        outline = _Outline(headings)
        starts = [0, *ends[:-1]]
        return [
            Passage(start, end, outline.above(_first_letter(text, start, end)))
            for start, end in zip(starts, ends, strict=True)
        ]

    def _split_section(self, text: str, start: int, end: int) -> list[int]:
        """Return where the passages of ``text[start:end]`` end."""
        if self.count_tokens(text[start:end]) <= self.max_tokens:
            return [end]
        ends: list[int] = []
        position = start
        for piece in self._splitter.chunks(text[start:end]):
            position += len(piece)
            # White space between passages belongs to the one before.
            if ends and not piece.strip():
                ends[-1] = position
            elif piece.strip():
                ends.append(position)
        ends[-1] = end
        return self._merge_small(text, start, ends)

    def _merge_small(self, text: str, start: int, ends: list[int]) -> list[int]:
        """Join passages that are too short to mean much to a neighbour, where both fit into one."""
        merged: list[int] = []
        sizes: list[int] = []
        for end in ends:
            size = self.count_tokens(text[start:end])
            if sizes and min(size, sizes[-1]) < self._least and size + sizes[-1] <= self.max_tokens:
                merged[-1] = end
                sizes[-1] += size
            else:
                merged.append(end)
                sizes.append(size)
            start = end
        return merged


class _Outline:
    """The headings of a document and what stands above any place in it."""

    def __init__(self, headings: Iterable[Heading]) -> None:
        self._offsets: list[int] = []
        self._paths: list[str] = []
        stack: list[Heading] = []
        for heading in headings:
            while stack and stack[-1].level >= heading.level:
                stack.pop()
            stack.append(heading)
            self._offsets.append(heading.offset)
            self._paths.append(HEADING_SEPARATOR.join(above.text for above in stack))

    def above(self, offset: int) -> str:
        """Return the path of headings at an offset, one that starts right there included."""
        index = bisect_right(self._offsets, offset)
        return self._paths[index - 1] if index else ""


def _sections(text: str, headings: Sequence[Heading]) -> Iterator[tuple[int, int]]:
    """Cut the text before each heading of the highest level that occurs more than once.

    What precedes such a heading stays with it if it is no more than other headings, such as the title.
    """
    levels = Counter(heading.level for heading in headings)
    top = min((level for level, number in levels.items() if number > 1), default=0)
    last = len(text.rstrip())
    start = titles = 0
    for heading in headings:
        body = len(text[start : heading.offset].strip()) - titles
        if heading.level <= top and heading.offset < last and body > _LEAST_BODY:
            yield start, heading.offset
            start, titles = heading.offset, 0
        titles += len(heading.text)
    yield start, len(text)


def _first_letter(text: str, start: int, end: int) -> int:
    found = _WORD.search(text, start, end)
    return found.start() if found else start
