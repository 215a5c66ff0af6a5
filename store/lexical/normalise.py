"""Fold the spellings of one word into one: the text half of the lexical analyser.

``fold`` is idempotent and knows Unicode and scripts. It must not know words, weights or engines.

Sources: Unicode's NFKC_Casefold (UAX #31, UTR #44); the Arabic, Persian, Hindi and Indic normalisation rules
of Apache Lucene, reduced to those that join spellings a searcher cannot tell apart.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

ZWNJ = "\u200c"
ZWJ = "\u200d"

_ARABIC_LETTERS = {
    **dict.fromkeys("أإآٱ", "ا"),
    **dict.fromkeys("ىیۍېےئۓ", "ي"),
    **dict.fromkeys("کڪ", "ك"),
    **dict.fromkeys("ةۀەہۂۃھ", "ه"),
    "ؤ": "و",
    "٫": ".",  # decimal separator
    "٬": ",",  # thousands separator
}
_INDIC_LETTERS = {
    "ऩ": "न",
    "ऱ": "र",
    "ऴ": "ळ",
    "ँ": "ं",
    "\u093c": None,  # Devanagari nukta; Bengali keeps its own, there it makes different letters
}


def _digits() -> dict[int, str]:
    """Map every decimal digit outside ASCII to the ASCII one."""
    blocks = (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0C66)  # Arabic, Persian, Devanagari, Bengali, Telugu
    return {start + value: str(value) for start in blocks for value in range(10)}


def _ignorables() -> dict[int, None]:
    """List what is never seen: tatweel, Arabic vowel signs, direction marks, joiners, selectors."""
    ranges = (
        (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x0610, 0x061A), (0x0640, 0x0640),
        (0x064B, 0x065F), (0x0670, 0x0670), (0x06D6, 0x06DC), (0x06DF, 0x06E8), (0x06EA, 0x06ED),
        (0x180B, 0x180F), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    )  # fmt: skip
    return {code: None for first, last in ranges for code in range(first, last + 1)}


class _Table(dict[int, "str | int | None"]):
    """What ``str.translate`` wants, remembering also the letters that stay: a miss is costly."""

    def __missing__(self, code: int) -> int:
        self[code] = code
        return code


_LETTERS = _Table(
    _ignorables()
    | {ord(letter): target for letter, target in (_ARABIC_LETTERS | _INDIC_LETTERS).items()}
    | _digits()
    | {ord("ё"): "е", 0x200B: " "}
    | dict.fromkeys(map(ord, "’ʼʻ‘"), "'")
)

# The Devanagari nasal before a consonant of its own class is written in full or as a dot: हिन्दी, हिंदी.
_NASAL = re.compile("ङ्(?=[क-घ])|ञ्(?=[च-झ])|ण्(?=[ट-ढ])|न्(?=[त-ध])|म्(?=[प-भ])")
# A joiner between Arabic letters parts a word; anywhere else it only changes the look.
_ARABIC = "\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff\u0750-\u077f"
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
