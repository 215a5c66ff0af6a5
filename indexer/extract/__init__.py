"""Files to text: one small extractor for each format behind a two-method protocol, and the list of them.

Bytes in, text with headings out.
"""

from indexer.extract.base import Extracted, Extractor, Heading, TextBuilder
from indexer.extract.registry import Registry, default_registry

__all__ = ["Extracted", "Extractor", "Heading", "Registry", "TextBuilder", "default_registry"]
