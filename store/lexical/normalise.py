"""Fold the spellings of one word into one: the text half of the lexical analyser.

Sources: Unicode's NFKC_Casefold (UAX #31, UTR #44); the Arabic, Persian, Hindi and Indic normalisation rules
of Apache Lucene, reduced to those that join spellings a searcher cannot tell apart (``common.languages``).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from common.languages import OPTIONAL_MARKS, SCRIPTS, SPELLINGS, ZEROS, expand

ZWNJ = "\u200c"
ZWJ = "\u200d"

#: What is never seen: hyphenation and direction marks, joiners, selectors, signs of recitation.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u180b-\u180f\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SIGNS = dict.fromkeys("’ʼʻ‘", "'") | {"٫": ".", "٬": ",", "\u200b": " "}


class _Table(dict[int, "str | int | None"]):
    """What ``str.translate`` wants, remembering also the letters that stay: a miss is costly."""

    def __missing__(self, code: int) -> int:
        self[code] = code
        return code


_LETTERS = _Table(
    {ord(sign): None for sign in expand(_INVISIBLE + OPTIONAL_MARKS)}
    | {ord(sign): target for sign, target in _SIGNS.items()}
    | {ord(zero) + value: str(value) for zero in ZEROS for value in range(10)}
    | {
        ord(letter): spelling.analyser
        for spelling in SPELLINGS
        for letter in spelling.swapped + spelling.rare
        if letter != spelling.analyser
    }
)

# The Devanagari nasal before a consonant of its own class is written in full or as a dot: हिन्दी, हिंदी.
_NASAL = re.compile("ङ्(?=[क-घ])|ञ्(?=[च-झ])|ण्(?=[ट-ढ])|न्(?=[त-ध])|म्(?=[प-भ])")
# A joiner between Arabic letters parts a word; anywhere else it only changes the look.
_ARABIC = SCRIPTS["Arab"].letters
_LOOSE_JOINER = re.compile(f"{ZWJ}|(?<![{_ARABIC}]){ZWNJ}|{ZWNJ}(?![{_ARABIC}])")
_SPECIAL = re.compile("[\u00ad\u034f\u0610-\u06ff\u0750-\u0dff\u180b-\u180f\u200b-\u200f\u2018\u2019\u202a-"
                      "\u206f\ufe00-\ufe0f\ufeffё\u02bb\u02bc\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
                      "\U000e0000-\U000e0fff]")  # fmt: skip


def fold(text: str) -> str:
    """Bring text to one spelling: compatibility forms, case, letters, digits, marks, joiners."""
    if text.isascii():
        return text.lower()
    # Case folding can undo composition and the reverse; Unicode's own definition is this sequence.
    text = unicodedata.normalize("NFKC", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    if not text.isascii():
        folded = unicodedata.normalize("NFKC", text.casefold())
        text = _fold_scripts(folded) if _SPECIAL.search(folded) else folded
    return text


def _fold_scripts(text: str) -> str:
    """Fold what is particular to a script, until nothing changes (marks can hide behind marks)."""
    while True:
        # Bengali khanda ta has an old spelling with a joiner.
        folded = text.replace("\u09a4\u09cd\u200d", "\u09ce").translate(_LETTERS)
        folded = _LOOSE_JOINER.sub("", folded)
        folded = unicodedata.normalize("NFKC", _NASAL.sub("ं", folded))
        if folded == text:
            return text
        text = folded


@lru_cache(maxsize=1 << 16)
def bare(word: str) -> str:
    """Drop the accents of a Latin word (``hà nội`` → ``ha noi``); other scripts come back as they are."""
    if word.isascii():
        return word
    kept = []
    latin = False
    for letter in unicodedata.normalize("NFD", word):
        code = ord(letter)
        if latin and 0x0300 <= code <= 0x036F:
            continue
        latin = code < 0x0250 or 0x1E00 <= code < 0x1F00
        kept.append(_BARE_LETTERS.get(letter, letter))
    return unicodedata.normalize("NFC", "".join(kept))


_BARE_LETTERS = {"đ": "d", "ø": "o", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
