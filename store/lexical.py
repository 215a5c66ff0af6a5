"""The lexical analyser for 14 languages: text in, terms or sparse vectors out.

The same for documents and questions and for every engine, so that a word typed finds the word written. It
goes by script, not by language: nothing has to be detected first.

What a term is:

* a word by UAX #29 after ``fold`` (case, width, Arabic and Indic spellings, digits, ё), with three
  departures that suit search: a full stop or underscore between letters parts words (``example.com``), French
  elisions are parted (``l'eau``) and other apostrophes dropped (``ng'ombe`` → ``ngombe``), and Hangul is
  parted from other letters (``GPU를`` holds ``gpu``);
* for a word with accents on Latin letters also the word without them, since people type ``ha noi`` and
  ``informacion``; the accented term still tells ``más`` from ``mas`` when it is typed;
* for a Persian word with a zero-width non-joiner its parts and the whole;
* for a Korean word of three syllables or more also its pairs of syllables, since particles are glued on.

Numbers are kept whole (``3.11``, ``2024``). There is no stemmer and no list of stop words. Instead the terms
of a question are weighed by how common they are in their language at large. A collection's IDF cannot tell:
among documents in fourteen languages "what" and "the" are rare, because most documents are in other
languages, and an English question would find English documents by them.

Sources of the folding: Unicode's NFKC_Casefold (UAX #31, UTR #44); the Arabic, Persian, Hindi and Indic
normalisation rules of Apache Lucene, reduced to those that join spellings a searcher cannot tell apart
(``common.languages``).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from hashlib import blake2b

import numpy as np
import regex
from numpy.typing import NDArray

from common.languages import LANGUAGES, OPTIONAL_MARKS, SCRIPTS, SPELLINGS, ZEROS, load_counts
from common.languages import expand as expand_ranges

#: Part of the fingerprint: raise it whenever the same text would give other terms or weights.
ANALYSER_VERSION = "1"

#: BM25's saturation of term frequency. A word seen once in a chunk of average length weighs 1.
K1 = 1.2
#: BM25's length normalisation, mild because chunks are cut to similar lengths.
B = 0.5
#: Words in an average chunk. Fixed, so that a chunk's vector never depends on other chunks.
AVERAGE_WORDS = 100

#: The a of the weight a / (a + share): terms of this share count half (SIF, Arora et al. 2017).
HALF_SHARE = 5e-4

#: Words longer than this are cut: encoded data, not language.
MAX_WORD = 64

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
    {ord(sign): None for sign in expand_ranges(_INVISIBLE + OPTIONAL_MARKS)}
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

# One unit of letters, marks and digits; units are joined by an apostrophe or joiner, and by a point or comma
# between digits. Hangul stands alone.
_UNIT = r"(?:(?!\p{IsHangul})[\p{L}\p{M}\p{N}])+"
_WORD = regex.compile(rf"\p{{IsHangul}}+|{_UNIT}(?:(?:['{ZWNJ}]|(?<=\p{{N}})[.,](?=\p{{N}})){_UNIT})*")
_ASCII_WORD = regex.compile(r"[0-9a-z]+(?:(?:'|(?<=[0-9])[.,](?=[0-9]))[0-9a-z]+)*")
_HANGUL = regex.compile(r"\p{IsHangul}")
_THOUSANDS = regex.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_ELISIONS = frozenset(part for language in LANGUAGES.values() for part in language.elisions.split())


def analyse(text: str) -> list[str]:
    """Cut text into terms, in order of appearance, repetitions kept."""
    return [term for word in words(text) for term in expand(word)]


def words(text: str) -> list[str]:
    """Cut text into folded words, before they are expanded into terms."""
    return [word for token in text.split() for word in _token_words(token)]


def _token_words(token: str) -> tuple[str, ...]:
    """Cut what stands between two spaces; no folding looks across them, so each is folded once."""
    return _cached_words(token) if len(token) <= MAX_WORD else _cut(token)


def _cut(token: str) -> tuple[str, ...]:
    folded = fold(token)
    pattern = _ASCII_WORD if folded.isascii() else _WORD
    return tuple(pattern.findall(folded))


_cached_words = lru_cache(maxsize=1 << 16)(_cut)


@lru_cache(maxsize=1 << 16)
def expand(word: str) -> tuple[str, ...]:
    """List the terms of one folded word: itself, and the forms people may type instead."""
    word = word[:MAX_WORD]
    if "'" in word:
        head, _, tail = word.partition("'")
        if head in _ELISIONS or tail == "s":
            return (*expand(head), *expand(tail))
        return expand(word.replace("'", ""))
    if ZWNJ in word:
        parts = word.split(ZWNJ)
        return (*(term for part in parts for term in expand(part)), "".join(parts))
    if "." in word or "," in word:
        return _number(word)
    if len(word) > 2 and _HANGUL.match(word):
        return (word, *(word[i : i + 2] for i in range(len(word) - 1)))
    plain = bare(word)
    return (word,) if plain == word else (word, plain)


def _number(word: str) -> tuple[str, ...]:
    """Write a number one way: no thousands separators, a point before decimals; a date also in parts."""
    if _THOUSANDS.fullmatch(word):
        return (word.replace(",", ""),)
    word = word.replace(",", ".")
    parts = word.split(".")
    return (word, *parts) if len(parts) > 2 else (word,)


@lru_cache(maxsize=1 << 16)
def term_index(term: str) -> int:
    """Hash a term to its dimension in the sparse vectors, 0 to 2**32 - 1; the same on every machine."""
    return int.from_bytes(blake2b(term.encode(), digest_size=4).digest(), "little")


SparseVector = tuple[NDArray[np.uint32], NDArray[np.float32]]


def document_vector(texts: Iterable[str]) -> SparseVector:
    """Weigh the terms of a passage and what belongs to it, such as its headings.

    Returns:
        indices, shape (terms,), ascending, and weights: BM25 without IDF, which the engine adds.
        Terms that share an index by chance are counted together.
    """
    length = 0
    counts: dict[int, int] = {}
    for token, times in Counter(token for text in texts for token in text.split()).items():
        size, indices = _cached_indices(token) if len(token) <= MAX_WORD else _indices(token)
        length += size * times
        for index in indices:
            counts[index] = counts.get(index, 0) + times
    order = sorted(counts)
    frequency = np.array([counts[index] for index in order], np.float32)
    saturation = np.float32(K1 * (1 - B + B * length / AVERAGE_WORDS))
    return np.array(order, np.uint32), frequency * np.float32(K1 + 1) / (frequency + saturation)


def _indices(token: str) -> tuple[int, tuple[int, ...]]:
    """Count the words of a token and index their terms."""
    found = _token_words(token)
    return len(found), tuple(term_index(term) for word in found for term in expand(word))


_cached_indices = lru_cache(maxsize=1 << 16)(_indices)


def query_vector(text: str) -> SparseVector:
    """List the terms of a question, each once, indices ascending, weighed by how much they say (0 to 1)."""
    weights = {term_index(term): weight(term) for term in analyse(text)}
    indices = np.array(sorted(weights), np.uint32)
    return indices, np.array([weights[index] for index in indices.tolist()], np.float32)


def weight(term: str) -> float:
    """Return how much a term of a question says, above 0 and at most 1: little if every text holds it."""
    return HALF_SHARE / (HALF_SHARE + _shares().get(term, 0.0))


@cache
def _shares() -> dict[str, float]:
    """Map each common term to its share of running text, in the language where it is commonest."""
    shares: dict[str, float] = {}
    for counts in load_counts().values():
        for term, share in counts.terms.items():
            shares[term] = max(share, shares.get(term, 0.0))
    return shares


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
