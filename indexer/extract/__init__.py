"""Files to text: one small extractor for each format behind a two-method protocol, and the list of them.

Bytes in, text with headings out. A new format is a module here and its extractor in the list.
"""

from indexer.extract.base import Extracted, Extractor, Heading, Registry, TextBuilder
from indexer.extract.docx import DocxExtractor
from indexer.extract.html import HtmlExtractor
from indexer.extract.pdf import PdfExtractor
from indexer.extract.text import MarkdownExtractor, TextExtractor

__all__ = ["EXTRACTORS", "Extracted", "Extractor", "Heading", "Registry", "TextBuilder"]

EXTRACTORS: tuple[Extractor, ...] = (
    TextExtractor(),
    MarkdownExtractor(),
    HtmlExtractor(),
    PdfExtractor(),
    DocxExtractor(),
)
