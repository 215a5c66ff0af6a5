"""The data folder that lusifer-mini learns from: its files, and the usable pairs of texts in them.

``train/`` holds translations from English (``fr.tsv.xz``), words (``fr.words``) and names (``fr.names``),
``asym/`` questions with passages (``en-fr``), ``dev/`` the texts of the evaluation, which are kept out.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from common.languages import CODES, LANGUAGES, SIGNS
from lusifer.detection import detect
from lusifer.errors import DataError

PIVOT = "en"
TRANSLATED = tuple(code for code in CODES if code != PIVOT)

#: Sources whose text is narrow (interface strings, religion, commands): kept, but capped, so that general
#: language decides the geometry. Values are the most pairs kept per file.
NARROW_SOURCES = {
    "bible-ind": 4_000,
    "bible-sparv1909": 4_000,
    "freecodecamp": 30_000,
    "webdriverio": 10_000,
    "ms-docs": 20_000,
    "d365docs": 15_000,
    "gnome": 15_000,
    "dict-gnome": 6_000,
    "aosp": 15_000,
    "wikimedia": 10_000,
    "godot": 6_000,
    "tldr": 6_000,
    "php-docs": 10_000,
    "mint": 3_000,
    "pydocs": 12_000,
}

#: Sources of general language, as against documentation and interface strings. There is little of it, and it
#: is what people search: a recipe draws it more often (``general_weight``).
GENERAL_SOURCES = frozenset(
    {
        "bible-ind",
        "bible-sparv1909",
        "djangogirls-tutorial",
        "joshua-indian",
        "kolibri",
        "mgsm",
        "opensource.guide",
        "osguide",
        "pawsx",
        "privacyguides",
        "scratch",
        "sdg-translations",
        "storybooks",
        "tico19",
        "dict-bengalidict",
        "dict-cldr",
        "dict-countries",
        "dict-finnwordnet",
        "dict-freedict-eng-fra",
        "dict-freedict-eng-swh",
        "dict-freedict-fra-eng",
        "dict-freedict-spa-eng",
        "dict-freedict-swh-eng",
        "dict-geonames",
        "dict-joshua-indian",
        "dict-omw",
        "dict-tico-terms",
        "dict-wikidict",
        "dict-wiktionary",
        "dict-xling",
    }
)

_WORD = re.compile(r"\w+")
_NGRAM = 13

#: Documents that a data folder can be made of, and the length of their shortest paragraphs.
_SUFFIXES = (".md", ".txt")
_SHORTEST = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that mean the same, or a query and its passage; keys are hashes of the normalised texts."""

    source: str
    left: str
    right: str
    left_key: int = 0
    right_key: int = 0


def normalise_key(text: str) -> str:
    """Return what is compared when duplicates and overlaps are looked for: NFKC, lower case, words only."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def hash_key(key: str) -> int:
    """Return a signed 64-bit hash of a normalised text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little", signed=True)


def find_tsv(folder: Path, stem: str) -> Path | None:
    """Return ``stem.tsv.xz`` or ``stem.tsv`` in a folder, None where neither exists."""
    for suffix in (".tsv.xz", ".tsv"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def list_sets(folder: Path) -> dict[str, tuple[Path, str, bool]]:
    """Map each pair set to its file, the language of its right side, and whether it is symmetric."""
    sets: dict[str, tuple[Path, str, bool]] = {}
    for language in TRANSLATED:
        for stem in (language, f"{language}.words", f"{language}.names"):
            path = find_tsv(folder / "train", stem)
            if path is not None:
                sets[stem] = (path, language, True)
    for query in CODES:
        for passage in CODES:
            path = find_tsv(folder / "asym", f"{query}-{passage}")
            if path is not None:
                sets[f"asym.{query}-{passage}"] = (path, passage, False)
    return sets


def read_tsv(path: Path) -> Iterator[Pair]:
    """Yield the pairs of one ``source<TAB>left<TAB>right`` file, xz-compressed or plain.

    Raises:
        DataError: the file is missing or a line has not three columns.
    """
    if not path.is_file():
        raise DataError(f"training file {path} does not exist", hint="check the data folder's layout")
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            columns = line.rstrip("\n").split("\t")
            if len(columns) != 3:
                raise DataError(
                    f"{path}, line {number}: {len(columns)} columns instead of 3",
                    hint="each line is source, left text, right text, separated by tabs",
                )
            yield Pair(columns[0], columns[1], columns[2])


class Overlap:
    """The evaluation texts, to be kept out of training: exact match, or any shared run of 13 words."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._exact: set[str] = set()
        self._ngrams: set[str] = set()
        for text in texts:
            key = normalise_key(text)
            self._exact.add(key)
            words = key.split()
            self._ngrams.update(" ".join(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1))

    @classmethod
    def of_dev(cls, folder: Path) -> Overlap:
        """Collect every text under ``folder/dev``: SIB-200 sentences, MLQA questions and paragraphs."""

        def texts() -> Iterator[str]:
            for path in sorted((folder / "dev").rglob("*.jsonl")):
                with path.open(encoding="utf-8") as lines:
                    for line in lines:
                        record = json.loads(line)
                        for field in (*CODES, "text", "question"):
                            if isinstance(record.get(field), str):
                                yield record[field]

        return cls(texts())

    def __contains__(self, key: str) -> bool:
        if key in self._exact:
            return True
        words = key.split()
        return any(" ".join(words[i : i + _NGRAM]) in self._ngrams for i in range(len(words) - _NGRAM + 1))


def is_usable(left: str, right: str, right_language: str, *, symmetric: bool) -> bool:
    """Tell whether a pair can teach: both sides say something, in the right script, at a plausible ratio."""
    if not left.strip() or not right.strip() or left == right:
        return False
    if symmetric and len(left) + len(right) > 40:
        ratio = len(left) / len(right)
        if not 0.25 < ratio < 4.0:
            return False
    script = LANGUAGES[right_language].script
    return script == "Latn" or SIGNS[script].search(right) is not None


def clean(path: Path, language: str, overlap: Overlap | None, *, symmetric: bool = True) -> Iterator[Pair]:
    """Yield the usable pairs of a file once each: no duplicates, no evaluation text, narrow sources capped.

    Args:
        path: a TSV file.
        language: language of the right-hand side.
        overlap: texts that must not be learnt from; None where there are none.
        symmetric: translations (True) or query to passage (False, no length ratio is expected).
    """
    seen: set[tuple[int, int]] = set()
    taken: dict[str, int] = {}
    for pair in read_tsv(path):
        if not is_usable(pair.left, pair.right, language, symmetric=symmetric):
            continue
        cap = NARROW_SOURCES.get(pair.source)
        if cap is not None and taken.get(pair.source, 0) >= cap:
            continue
        left, right = normalise_key(pair.left), normalise_key(pair.right)
        if not left or not right or left == right:
            continue
        keys = (hash_key(left), hash_key(right))
        if keys in seen:
            continue
        if overlap is not None and (left in overlap or right in overlap):
            continue
        seen.add(keys)
        taken[pair.source] = taken.get(pair.source, 0) + 1
        yield Pair(pair.source, pair.left, pair.right, *keys)


def english_texts(folder: Path, *, characters: int, seed: int) -> dict[int, str]:
    """Return distinct English sides of at most ``characters``, in a shuffled order, by the hash of each."""
    texts: dict[int, str] = {}
    for stem in [name for code in TRANSLATED for name in (code, f"{code}.words")]:
        path = find_tsv(folder / "train", stem)
        if path is not None:
            for pair in clean(path, stem.split(".")[0], None):
                if len(pair.left) <= characters:
                    texts.setdefault(pair.left_key, pair.left)
    order = sorted(texts)
    random.Random(seed).shuffle(order)
    return {key: texts[key] for key in order}


@dataclass(frozen=True, slots=True)
class _Document:
    topic: str
    language: str
    title: str
    passages: list[str]


def write_quick_data(documents: Path, folder: Path) -> list[str]:
    """Make a tiny data folder of a folder of documents, so that the whole recipe can be tried in a minute.

    What it teaches is little: documents of one sub-folder, which treat one topic, stand in for translations
    of each other.

    Sentences: an English document's passages with those of another language of the same sub-folder, in order;
    words: their titles; query to passage: a title or first words to each passage, and a passage to the next.

    Returns:
        Files that were left out, each with the reason.

    Raises:
        DataError: there is no such folder, or it has no sub-folder with an English and another document.
    """
    if not documents.is_dir():
        raise DataError(f"folder {documents} does not exist", hint="give a folder of documents, as samples/")
    left_out: list[str] = []
    read = list(_read_documents(documents, left_out))
    lines: dict[str, list[tuple[str, str]]] = {}
    for english in (document for document in read if document.language == PIVOT):
        for other in read:
            if other.topic == english.topic and other.language != PIVOT:
                lines.setdefault(f"train/{other.language}.words", []).append((english.title, other.title))
                lines.setdefault(f"train/{other.language}", []).extend(
                    zip(english.passages, other.passages, strict=False)
                )
    if not lines:
        raise DataError(
            f"{documents} has no sub-folder with an English and another document to learn from",
            hint="put documents on one topic into one sub-folder, .md or .txt in UTF-8",
        )
    for document in read:
        pairs = [(document.title, passage) for passage in document.passages]
        pairs += [(" ".join(a.split()[:6]), b) for a, b in pairwise(document.passages)]
        lines.setdefault(f"asym/{document.language}-{document.language}", []).extend(pairs)
    for stem, pairs in lines.items():
        path = folder / f"{stem}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"documents\t{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return left_out


def _read_documents(folder: Path, left_out: list[str]) -> Iterator[_Document]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in _SUFFIXES:
            left_out.append(f"{name}: not .md or .txt")
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            left_out.append(f"{name}: not UTF-8")
            continue
        blocks = [" ".join(block.split()) for block in text.split("\n\n")]
        passages = [block for block in blocks[1:] if len(block) >= _SHORTEST and not block.startswith("#")]
        if passages:
            title = blocks[0].lstrip("# ")
            yield _Document(path.parent.as_posix(), detect(text).code, title, passages)
        else:
            left_out.append(f"{name}: no paragraphs")
