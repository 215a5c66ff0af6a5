"""A document's text as the page shows it: headings and paragraphs, with the passage marked.

Each block has the language of its passage. Knows chunks and offsets; must not read the store.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from app.marks import Run, Span, make_runs, snap_to_words
from app.search.results import HEADING_SEPARATOR
from app.web.languages import language_of
from lusifer.languages import Language
from store.base import Chunk

#: A Markdown heading, or lines up to the next blank line or heading.
_BLOCK = re.compile(
    r"^(?P<marks>#{1,6})[ \t]+(?P<heading>.*\S)[ \t]*$|(?:^(?!#{1,6}[ \t]+\S).*\S.*(?:\n|$))+", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or a heading if ``level`` is not 0 (2 to 4).

    Attributes:
        level: level of the heading in the page.
        language: language of the text.
        runs: the text.
        anchor: whether the marked passage begins here.
    """

    level: int
    language: Language
    runs: tuple[Run, ...]
    anchor: bool = False


def view_blocks(chunks: Sequence[Chunk], passage: Span | None, sentence: Span | None) -> list[Block]:
    """Lay out a document's text, or a part of it.

    Args:
        chunks: the passages in a row, at least one.
        passage: span to mark, in the document's offsets.
        sentence: span inside it to mark more strongly.
    """
    base = chunks[0].start
    text = "".join(chunk.text for chunk in chunks)
    passage, sentence = _shift(text, passage, base), _shift(text, sentence, base)
    starts = [chunk.start - base for chunk in chunks]
    marked = sentence or passage
    blocks: list[Block] = []
    for match in _BLOCK.finditer(text):
        owner = chunks[max(0, bisect_right(starts, match.start()) - 1)]
        block = _block(match, owner, passage, sentence)
        first = not any(earlier.anchor for earlier in blocks)
        anchored = bool(first and marked and marked[0] < match.end() and marked[1] > match.start())
        blocks.append(Block(block.level, block.language, block.runs, anchored))
    return blocks


def _block(match: re.Match[str], owner: Chunk, passage: Span | None, sentence: Span | None) -> Block:
    language = language_of(owner.language)
    if match["marks"]:
        start, level = match.start("heading"), min(4, len(match["marks"]) + 1)
        body = match["heading"]
    else:
        start = match.start()
        body = match.group().rstrip()
        level = 3 if body.strip() in owner.heading.split(HEADING_SEPARATOR) else 0
    runs = make_runs(body, _move(passage, start), _move(sentence, start))
    return Block(level, language, tuple(runs))


def _move(span: Span | None, offset: int) -> Span | None:
    return None if span is None else (span[0] - offset, span[1] - offset)


def _shift(text: str, span: Span | None, base: int) -> Span | None:
    return None if span is None else snap_to_words(text, (span[0] - base, span[1] - base))
