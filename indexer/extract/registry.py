"""Which extractor reads a file: the project's own, then those that installed packages add.

A package adds one with an entry point of the group ``lusifer.extractors`` that names a class (or function)
called without arguments; it is asked before the project's own, so it can also replace one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from indexer.errors import ExtractionFailed, IndexerError
from indexer.extract.base import Extracted, Extractor
from indexer.extract.docx import DocxExtractor
from indexer.extract.html import HtmlExtractor
from indexer.extract.pdf import PdfExtractor
from indexer.extract.text import MarkdownExtractor, TextExtractor

GROUP = "lusifer.extractors"


class Registry:
    """Extractors in order of priority; the first that accepts a file reads it."""

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self.extractors = tuple(extractors)

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


def load_plugins() -> list[Extractor]:
    """Return the extractors that installed packages add, by name.

    Raises:
        IndexerError: one of them cannot be loaded.
    """
    found: list[Extractor] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            extractor = point.load()()
        except Exception as error:
            raise IndexerError(
                f"the extractor {point.name!r} ({point.value}) cannot be loaded: {error}",
                hint="update or uninstall the package that brings it",
            ) from error
        if not isinstance(extractor, Extractor):
            raise IndexerError(
                f"the extractor {point.name!r} ({point.value}) lacks accepts or extract",
                hint="update or uninstall the package that brings it",
            )
        found.append(extractor)
    return found


def default_registry() -> Registry:
    """Return the extractors of installed packages, then the project's own.

    Raises:
        IndexerError: a package's extractor cannot be loaded.
    """
    own = (TextExtractor(), MarkdownExtractor(), HtmlExtractor(), PdfExtractor(), DocxExtractor())
    return Registry([*load_plugins(), *own])
