"""Cut text into runs, marked and not, and shorten it around a mark.

Knows text and offsets only. A cut never falls inside a word: Arabic letters would lose their joins.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.search.results import HEADING_SEPARATOR, Passage

Span = tuple[int, int]

_SPACE = re.compile(r"\s")
_BREAK = re.compile(r"[^\S\n]*\n(?P<apart>\s*\n\s*|[^\S\n]*(?=(?:[-*+•|]|\d{1,3}[.)])\s))?[^\S\n]*")
_LINE = re.compile(r"(?P<mark>#{1,6}[ \t]+)?(?P<body>[^\n]*\S)[^\S\n]*(?:\n\s*|\Z)")


@dataclass(frozen=True, slots=True)
class Run:
    """Some text with how strongly it is marked: 0 not at all, 1 the passage, 2 the best sentence."""

    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a passage.

    Attributes:
        runs: its text.
        cut_before: whether text was left out before it.
        cut_after: whether text was left out after it.
    """

    runs: tuple[Run, ...]
    cut_before: bool
    cut_after: bool


def make_runs(text: str, passage: Span | None, sentence: Span | None) -> list[Run]:
    """Cut a text at the ends of the marked spans; spans may reach beyond it."""
    cuts = {0, len(text)}
    for span in (passage, sentence):
        if span:
            cuts |= {min(max(offset, 0), len(text)) for offset in span}
    ordered = sorted(cuts)
    return [
        Run(text[start:end], _level(start, end, passage, sentence))
        for start, end in itertools.pairwise(ordered)
    ]


def _level(start: int, end: int, passage: Span | None, sentence: Span | None) -> int:
    if sentence and sentence[0] <= start and end <= sentence[1]:
        return 2
    return 1 if passage and passage[0] <= start and end <= passage[1] else 0


def excerpt(text: str, highlights: Sequence[Span], budget: int) -> Excerpt:
    """Shorten a passage to about ``budget`` characters around its marked sentence, which stays whole."""
    mark = highlights[0] if highlights else (0, 0)
    room = max(0, budget - (mark[1] - mark[0]))
    after = min(len(text) - mark[1], max(room // 2, room - mark[0]))
    before = min(mark[0], room - after)
    start = _word_start(text, mark[0] - before)
    end = _word_end(text, mark[1] + after)
    runs = make_runs(text[start:end], None, (mark[0] - start, mark[1] - start) if highlights else None)
    return Excerpt(tuple(runs), start > 0, end < len(text))


def excerpt_passage(passage: Passage, title: str, budget: int) -> Excerpt:
    """Shorten a passage of a result; headings at its start are left out, they are shown above it already."""
    lead = heading_length(passage.text, (title, *passage.heading.split(HEADING_SEPARATOR)))
    if passage.highlights and passage.highlights[0][0] < lead:
        lead = 0
    highlights = [(start - lead, end - lead) for start, end in passage.highlights]
    shown = excerpt(passage.text[lead:], highlights, budget)
    runs = tuple(Run(_join_lines(run.text), run.level) for run in shown.runs)
    return Excerpt(runs, shown.cut_before, shown.cut_after)


def _join_lines(text: str) -> str:
    """Keep one line break between paragraphs and before list items; lines of a paragraph run on."""
    return _BREAK.sub(lambda match: "\n" if match["apart"] is not None else " ", text)


def heading_length(text: str, headings: Sequence[str]) -> int:
    """How many characters the headings at the start of a passage take; 0 if there is nothing else."""
    length = 0
    while (line := _LINE.match(text, length)) and (line["mark"] or line["body"] in headings):
        length = line.end()
    return length if length < len(text) else 0


def snap_to_words(text: str, span: Span) -> Span | None:
    """Widen a span to whole words within the text; None if it is empty or outside."""
    start, end = max(0, span[0]), min(len(text), span[1])
    if start >= end:
        return None
    while start > 0 and not text[start - 1].isspace() and not text[start].isspace():
        start -= 1
    return start, _word_end(text, end)


def _word_start(text: str, offset: int) -> int:
    """The first start of a word at or after an offset."""
    if offset <= 0:
        return 0
    space = _SPACE.search(text, offset - 1)
    return len(text) if space is None else space.end()


def _word_end(text: str, offset: int) -> int:
    """The first end of a word at or after an offset."""
    if offset <= 0:
        return 0
    space = _SPACE.search(text, offset)
    return len(text) if space is None else space.start()
