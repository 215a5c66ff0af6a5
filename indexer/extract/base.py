"""What an extractor is and what it gives, which one reads a file, and the builder of their texts."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from indexer.errors import ExtractionFailed, IndexerError

#: Part of every document's version: raise it when an extractor's output changes: all is read again.
EXTRACTION_VERSION = 1

#: Entry-point group of the extractors that other packages bring.
PLUGINS = "lusifer.extractors"

#: Longest text taken from a file whose format compresses, in bytes; more is a bomb or no document.
MAX_UNPACKED = 512 << 20

_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_UNWANTED = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a text.

    Attributes:
        offset: of its first character.
        level: 1 is the highest.
        text: one line.
    """

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Extracted:
    r"""The text of a file.

    Attributes:
        text: plain text, ``\n`` as line end, without control characters.
        title: what the document calls itself, empty if it does not say.
        headings: in order of offset.
        language: what the document says its language is, as it says it (``pt-BR``); empty if it does not.
    """

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    language: str = ""


@runtime_checkable
class Extractor(Protocol):
    """Reads one kind of file. Others can be added through the entry-point group ``lusifer.extractors``."""

    def accepts(self, path: Path) -> bool:
        """Tell by its name whether a file is of this kind; must not open it."""

    def extract(self, path: Path, content: bytes) -> Extracted:
        """Turn the file's content into text.

        Raises:
            ExtractionFailed: with the reason, in words for the file's owner.
        """


class Registry:
    """Extractors in order of priority; the first that accepts a file reads it."""

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self.extractors = tuple(extractors)

    @classmethod
    def with_plugins(cls, own: Sequence[Extractor]) -> Registry:
        """Return the extractors that installed packages add, then the project's own.

        A package adds one with an entry point of the group ``lusifer.extractors`` that names a class (or
        function) called without arguments. It is asked first, so it can also replace one of the project's.

        Raises:
            IndexerError: a package's extractor cannot be loaded.
        """
        points = sorted(entry_points(group=PLUGINS), key=lambda point: point.name)
        return cls([*map(_load_plugin, points), *own])

    def find(self, path: Path) -> Extractor | None:
        """Return the extractor for a file of this name."""
        return next((extractor for extractor in self.extractors if extractor.accepts(path)), None)

    def accepts(self, path: Path) -> bool:
        """Tell whether any extractor reads files of this name."""
        return self.find(path) is not None

    def extract(self, path: Path, content: bytes) -> Extracted:
        """Turn a file into text.

        Raises:
            ExtractionFailed: no extractor reads it, or the one that does cannot. What a parsing library
                raises on malformed input is its own affair: any exception of an extractor counts as this one.
        """
        extractor = self.find(path)
        if extractor is None:
            raise ExtractionFailed(f"unsupported type {path.suffix.lower() or '(no extension)'}")
        try:
            return extractor.extract(path, content)
        except ExtractionFailed:
            raise
        except Exception as error:
            detail = " ".join(str(error).split())[:200] or type(error).__name__
            raise ExtractionFailed(f"malformed: {detail}") from error


def _load_plugin(point: EntryPoint) -> Extractor:
    brought = f"the extractor {point.name!r} ({point.value})"
    hint = "update or uninstall the package that brings it"
    try:
        extractor = point.load()()
    except Exception as error:
        raise IndexerError(f"{brought} cannot be loaded: {error}", hint=hint) from error
    if not isinstance(extractor, Extractor):
        raise IndexerError(f"{brought} lacks accepts or extract", hint=hint)
    return extractor


class TextBuilder:
    """Puts a text together from cleaned pieces and notes where headings start."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = self._line_ends = 0
        self._headings: list[Heading] = []

    def add(self, text: str) -> None:
        """Append text as it is, but for control characters."""
        text = clean(text)
        if not text:
            return
        self._pieces.append(text)
        self._length += len(text)
        ends = len(text) - len(text.rstrip("\n"))
        self._line_ends = ends if ends < len(text) else self._line_ends + ends

    def break_lines(self, number: int) -> None:
        """Make the text end with so many line ends, unless it has not begun or ends with them already."""
        if self._length:
            self.add("\n" * max(0, number - self._line_ends))

    def add_heading(self, text: str, level: int) -> None:
        """Append a heading as a paragraph of its own; an empty one is left out."""
        if text := self.mark_heading(text, level):
            self.add(text + "\n\n")

    def mark_heading(self, text: str, level: int) -> str:
        """Note that a heading stands here without appending it; return it as one line."""
        text = " ".join(clean(text).split())
        if text:
            self._headings.append(Heading(self._length, level, text))
        return text

    @property
    def first_heading(self) -> str:
        """The first heading of the highest level; empty if there is none."""
        return min(self._headings, key=lambda heading: heading.level).text if self._headings else ""

    @property
    def length(self) -> int:
        """Length of the text so far."""
        return self._length

    def build(self, *, title: str = "", language: str = "") -> Extracted:
        """Return what was put together."""
        return Extracted(
            text="".join(self._pieces),
            title=" ".join(clean(title).split()),
            headings=tuple(self._headings),
            language=language.strip(),
        )


def clean(text: str) -> str:
    r"""Make line ends ``\n``; drop what is no text: control characters, byte order marks, lone surrogates."""
    text = _UNWANTED.sub("", _BREAKS.sub("\n", text))
    return _SURROGATES.sub("\ufffd", text)


def open_archive(content: bytes) -> zipfile.ZipFile:
    """Open a ZIP file that is safe to unpack.

    The sizes an archive declares bind: ``zipfile`` never unpacks more of a member than that.

    Raises:
        ExtractionFailed: it is damaged, encrypted, or unpacks to more than ``MAX_UNPACKED``.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise ExtractionFailed("damaged: it is not a complete ZIP archive, as its format requires") from error
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED:
        raise ExtractionFailed(
            f"refused: it would unpack to {unpacked / 1e6:,.0f} MB, the limit is {MAX_UNPACKED / 1e6:,.0f} MB"
        )
    if any(member.flag_bits & 1 for member in members):
        raise ExtractionFailed("encrypted: save it without a password")
    return archive
