"""Turn the bytes of a text file into text, whatever it was written in.

In order: byte order marks, UTF-8, UTF-16 and UTF-32 without a mark, then the legacy encodings of the 14
languages, each judged by how likely its reading is as text of a language written in it: by how often each
character occurs in that language. Only when none is likely is charset-normalizer asked, which knows more
encodings but is weak on short texts.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from common.languages import CODES, ENCODINGS, LANGUAGES, load_counts
from indexer.errors import ExtractionFailed

_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16 LE, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

#: Encoding, the languages written in it, and what its reading must win by.
_LEGACY = tuple(
    (
        encoding,
        tuple(code for code, language in LANGUAGES.items() if encoding in language.encodings),
        handicap,
    )
    for encoding, handicap in ENCODINGS.items()
)
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_LARGE = (*_WIDE, "cp949", "johab")

_SAMPLE = 1 << 16
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_MAX_CONTROLS = 0.002
_BLANKS = re.compile(r"[ \t\r\n\f]+")
#: A sign inside a word, or Latin and Cyrillic or Arabic letters in one, is a letter misread; what such a
#: place costs, as log probability.
_MISREAD = re.compile(
    r"[^\W\d_][^\w\s\x00-\x7f’‑·\u0300-\u036f\u200c\u200d][^\W\d_]"
    r"|[A-Za-z](?=[\u0400-\u06ff])|[\u0400-\u06ff](?=[A-Za-z])"
)
_MISREAD_COST = 5.0
#: Log probability of a character that a language's text does not contain.
_UNSEEN = -16.0
#: Signs that typographers use in every language, though software strings, which the counts lean on, do not.
_TYPOGRAPHY = "’‘“”„–—…«»€£¥§°²³±×·©®™•\u00a0"
_TYPOGRAPHY_SCORE = -9.0
#: Letters of foreign names.
_ACCENTED = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýßœš"
_ACCENTED_SCORE = -13.0
#: Mean log probability of a character below which a reading is not text in any of the languages; the second
#: is for encodings of large character sets, where each character is rarer.
_PLAUSIBLE, _PLAUSIBLE_WIDE = -5.0, -6.7
#: What a text may fall short of that in all, so that one rare letter does not condemn a short one.
_BENEFIT = 25.0
#: Share of broken sequences up to which a file still is UTF-8, damaged.
_MAX_BROKEN = 0.02


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text and what it was written in.

    Attributes:
        text: the text, without byte order mark.
        encoding: Python's name of the encoding.
    """

    text: str
    encoding: str


@dataclass(frozen=True, slots=True)
class _Reading:
    encoding: str
    likelihood: float
    size: int

    @property
    def is_plausible(self) -> bool:
        if self.encoding in _LARGE:
            return self.likelihood >= _PLAUSIBLE_WIDE * self.size
        return self.likelihood >= _PLAUSIBLE * self.size - _BENEFIT


def decode(content: bytes, *, declared: str | None = None) -> Decoded:
    """Decode the bytes of a text file.

    Args:
        content: the whole file.
        declared: the encoding the file says it has; believed if the bytes fit it and are not UTF-8.

    Raises:
        ExtractionFailed: the file is binary, or in an encoding that cannot be told.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return Decoded(_decode_marked(content[len(mark) :], encoding), encoding)
    content = content.rstrip(b"\x1a")  # the end-of-file sign of DOS
    if b"\x00" not in content[: 8 * _SAMPLE] and (text := _try(content, "utf-8")) is not None:
        return Decoded(_refuse_binary(text), "utf-8")
    if declared and (text := _try(content, declared)) is not None and not _has_controls(text):
        return Decoded(_normalise(text, declared), declared)
    guessed = _guess(content)
    if guessed is None:
        raise _unknown(content)
    return Decoded(_normalise(content.decode(guessed, "replace"), guessed), guessed)


def _decode_marked(content: bytes, encoding: str) -> str:
    """Decode what follows a byte order mark; a cut-off last character is no reason to refuse a file."""
    return _refuse_binary(content.decode(encoding, "replace"))


def _guess(content: bytes) -> str | None:
    if b"\x00" not in content and _is_damaged_utf8(content):
        return "utf-8"
    plausible = (reading for reading in _read_all(content) if reading.is_plausible)
    best = max(plausible, key=lambda reading: reading.likelihood, default=None)
    if best is not None:
        return best.encoding
    return None if b"\x00" in content else _ask_charset_normalizer(content)


def _read_all(content: bytes) -> Iterator[_Reading]:
    for encoding in _WIDE:
        if len(content) % (4 if "32" in encoding else 2) == 0:
            yield from _read(content[:_SAMPLE], encoding, CODES, 0.0)
    if b"\x00" in content:
        return
    sample = _sample(content)
    for encoding, languages, handicap in _LEGACY:
        yield from _read(sample, encoding, languages, handicap)


def _read(sample: bytes, encoding: str, languages: Iterable[str], handicap: float) -> Iterator[_Reading]:
    text = _try(sample, encoding)
    if not text or _has_controls(text):
        return
    # Runs of white space say nothing, and the tables know a space and a line end only.
    text = _BLANKS.sub(" ", _normalise(text, encoding))
    counts = Counter(text)
    handicap += _MISREAD_COST * len(_MISREAD.findall(text))
    likelihood = max(_score(counts, language) for language in languages) - handicap
    yield _Reading(encoding, likelihood, len(text))


def _score(counts: Counter[str], language: str) -> float:
    """Return the log likelihood of a text with these characters in a language."""
    get = _characters(language).get
    return sum(number * get(character, _UNSEEN) for character, number in counts.items())


@cache
def _characters(language: str) -> dict[str, float]:
    """Return the log probability of each character in a language, signs that every language uses included."""
    counted = load_counts()[language].characters
    shared = dict.fromkeys(_ACCENTED, _ACCENTED_SCORE) | dict.fromkeys(_TYPOGRAPHY, _TYPOGRAPHY_SCORE)
    return counted | {sign: max(score, counted.get(sign, _UNSEEN)) for sign, score in shared.items()}


def _sample(content: bytes) -> bytes:
    """Return lines that tell encodings apart, those with bytes beyond ASCII, up to 64 KiB of them."""
    lines, size = [], 0
    for line in content.splitlines(keepends=True):
        if line.isascii():
            continue
        # A very long line is cut at a space, which is never the second byte of a character.
        if len(line) > _SAMPLE:
            line = line[: line.rfind(b" ", 0, _SAMPLE) + 1 or _SAMPLE]
        lines.append(line)
        size += len(line)
        if size >= _SAMPLE:
            break
    return b"".join(lines)


def _is_damaged_utf8(content: bytes) -> bool:
    """Tell UTF-8 with a few broken bytes (a cut or a mixed-up log) from other encodings."""
    text = content[: 16 * _SAMPLE].decode("utf-8", "replace")
    broken = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return broken <= _MAX_BROKEN * len(text) and beyond_ascii - broken > 5 * broken


def _ask_charset_normalizer(content: bytes) -> str | None:
    from charset_normalizer import from_bytes

    match = from_bytes(_sample(content), threshold=0.1, enable_fallback=False).best()
    if match is None or match.coherence <= 0.2 or _try(content, match.encoding) is None:
        return None
    return match.encoding


def _try(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _normalise(text: str, encoding: str) -> str:
    """Compose what Windows-1258 writes as letter and tone mark; other encodings are taken as they are."""
    return unicodedata.normalize("NFC", text) if encoding.lower() in ("cp1258", "windows-1258") else text


def _has_controls(text: str) -> bool:
    return len(_CONTROLS.findall(text[:_SAMPLE])) > 1 + _MAX_CONTROLS * min(len(text), _SAMPLE)


def _refuse_binary(text: str) -> str:
    if _has_controls(text):
        raise ExtractionFailed("not a text file: it contains control characters")
    return text


def _unknown(content: bytes) -> ExtractionFailed:
    if b"\x00" in content:
        return ExtractionFailed("not a text file: it contains NUL bytes")
    return ExtractionFailed("its character encoding cannot be told; save it as UTF-8")
