"""Cut a passage into sentences, in any of the 14 languages, keeping offsets.

Knows punctuation only, no language and no model. A sentence never ends inside a word.
"""

from __future__ import annotations

import itertools
import re

#: Ends a sentence wherever it stands: danda, Arabic and Urdu marks, full-width stops.
_STRONG = "।॥؟۔。！？"
#: Ends one only before a space, and not before a lower-case letter: full stop, marks shared by many scripts.
_WEAK = ".!?…"
_CLOSING = r"[\"'”’»)\]」』]*"

_BOUNDARY = re.compile(
    rf"[{_STRONG}]+{_CLOSING}\s*"
    rf"|[{_WEAK}]+{_CLOSING}(?:\s+|$)"
    r"|\n\s*\n\s*"
    r"|(?m:^#{1,6}[ \t]+\S.*\n\s*)"
    r"|\n(?=[ \t]*(?:[-*+•#>|]|\d{1,3}[.)])[ \t])"
)
_INITIAL = re.compile(r"(?:^|[\s(.])[^\W\d_]$")
_NUMBERED = re.compile(r"(?:^|\n|[.!?।؟]\s)[ \t]*\d{1,3}$")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Find the sentences of a passage.

    Args:
        text: the passage.

    Returns:
        (start, end) of each sentence in characters, without the white space around it, in order; together
        they cover all but white space. Empty for a blank passage.
    """
    bounds = [0]
    bounds += [match.end() for match in _BOUNDARY.finditer(text) if _ends_sentence(text, match)]
    bounds.append(len(text))
    spans = (_trim(text, start, end) for start, end in itertools.pairwise(bounds))
    return [(start, end) for start, end in spans if start < end]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark[0] == "#" or mark[0] not in _WEAK or match.end() == len(text):
        return True
    if text[match.end()].islower() and "\n\n" not in mark:
        return False
    before = text[max(0, match.start() - 8) : match.start()]
    return mark[0] != "." or not (_INITIAL.search(before) or _NUMBERED.search(before))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
