"""PDF files: pypdf first, pypdfium2 where that fails or finds nothing.

A PDF without any text is a scan; it is refused with that reason, never indexed as empty.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import ExtractionFailed
from indexer.extract.base import Extracted, TextBuilder

if TYPE_CHECKING:
    from pypdf import PdfReader

_NO_TEXT = "no text layer: probably a scan; run OCR first (for example ocrmypdf)"
_ENCRYPTED = "encrypted: save it without a password"
_MAX_LEVEL = 4
#: Arabic letters as drawn, one code for each shape, which browsers write into the PDFs they print.
_DRAWN = re.compile("[\ufb50-\ufdff\ufe70-\ufefc]+")
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u00ad]\n(?=[^\W\d_])")


class _EncryptedError(Exception):
    """The document needs a password."""


@dataclass(frozen=True, slots=True)
class _Pages:
    """What a reader found: the text of each page, the title, and bookmarks by page number."""

    texts: list[str]
    title: str = ""
    bookmarks: tuple[tuple[int, int, str], ...] = ()


class PdfExtractor:
    """Reads ``.pdf``; bookmarks become headings where their titles stand on the page."""

    def accepts(self, path: Path) -> bool:
        return path.suffix.lower() == ".pdf"

    def extract(self, path: Path, content: bytes) -> Extracted:  # noqa: ARG002 - the protocol's signature
        problem: Exception | None = None
        for read in (_read_with_pypdf, _read_with_pdfium):
            try:
                pages = read(content)
            except Exception as error:
                # Whatever one library stumbles over, the other may read; the first one's words are kept.
                problem = problem or error
                continue
            if any(text.strip() for text in pages.texts):
                return _build(pages)
        if isinstance(problem, _EncryptedError):
            raise ExtractionFailed(_ENCRYPTED) from problem
        if problem is not None:
            detail = " ".join(str(problem).split())[:200] or type(problem).__name__
            raise ExtractionFailed(f"malformed PDF: {detail}") from problem
        raise ExtractionFailed(_NO_TEXT)


def _build(pages: _Pages) -> Extracted:
    builder = TextBuilder()
    for number, text in enumerate(pages.texts):
        bookmarks = [(level, title) for page, level, title in pages.bookmarks if page == number]
        _add_page(_HYPHENATED.sub("", spell_out(text)).strip(), bookmarks, builder)
    return builder.build(title=spell_out(pages.title))


def spell_out(text: str) -> str:
    """Replace drawn forms of Arabic letters by the letters, so that words can be found, read and told apart.

    The order of words on a line stays as the file has it; some files have it from left to right.
    """
    return _DRAWN.sub(lambda drawn: unicodedata.normalize("NFKC", drawn[0]), text)


def _add_page(text: str, bookmarks: list[tuple[int, str]], builder: TextBuilder) -> None:
    """Append a page; each bookmark marks the line that says the same, or else where the last one stood."""
    done = 0
    for level, title in bookmarks:
        words = r"\s+".join(map(re.escape, title.split()))
        line = re.compile(rf"^[ \t]*{words}[ \t]*$", re.MULTILINE | re.IGNORECASE).search(text, done)
        if line and words:
            builder.add(text[done : line.start()])
            done = line.start()
        builder.mark_heading(title, level)
    builder.add(text[done:])
    builder.break_lines(2)


def _read_with_pypdf(content: bytes) -> _Pages:
    from pypdf import PdfReader

    # pypdf reports what it repairs as warnings to its logger; only the outcome matters here.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted and not _opens_without_password(reader):
        raise _EncryptedError
    texts = [page.extract_text() for page in reader.pages]
    return _Pages(texts, _title(reader), tuple(_bookmarks(reader)))


def _opens_without_password(reader: PdfReader) -> bool:
    """Try the empty password, which files have whose owner only forbids changing or printing them."""
    from pypdf.errors import DependencyError

    try:
        return bool(reader.decrypt(""))
    except DependencyError:
        return False


def _title(reader: PdfReader) -> str:
    try:
        return str((reader.metadata and reader.metadata.title) or "")
    except Exception:
        return ""  # broken metadata is no reason to refuse the text


def _bookmarks(reader: PdfReader) -> Iterator[tuple[int, int, str]]:
    """Yield (page number, level, title) of the outline in its order."""
    try:
        pending: list[tuple[Any, int]] = [(entry, 1) for entry in reversed(reader.outline)]
        while pending:
            entry, level = pending.pop()
            if isinstance(entry, list):
                pending.extend((child, level + 1) for child in reversed(entry))
            elif level <= _MAX_LEVEL and (page := reader.get_destination_page_number(entry)) is not None:
                yield page, level, str(entry.title or "")
    except Exception:
        return  # a broken outline is no reason to refuse the text


def _read_with_pdfium(content: bytes) -> _Pages:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise _EncryptedError from error
        raise
    try:
        texts = []
        for page in document:
            text_page = page.get_textpage()
            texts.append(text_page.get_text_bounded())
            text_page.close()
            page.close()
        return _Pages(texts, document.get_metadata_value("Title"))
    finally:
        document.close()
