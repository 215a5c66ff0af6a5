"""Turn one file into a document ready to be embedded: text, title, language, chunks.

Must not know the manifest, the model's vectors or the store.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import ExtractionFailed
from indexer.extract import Extracted
from indexer.extract.base import EXTRACTION_VERSION
from indexer.text.chunk import Chunker
from indexer.text.language import LanguageFinder
from indexer.walk import Candidate
from lusifer.detection import Detection
from store.types import Chunk

_MAX_TITLE = 300
_VERSION_PREFIX = f"{EXTRACTION_VERSION}."


@dataclass(frozen=True, slots=True)
class Document:
    """A file as it will be stored.

    Attributes:
        id: 32 hexadecimal digits.
        candidate: the file.
        version: hash of its content.
        title: what it calls itself, or its file name.
        language: of the whole.
        chunks: in order.
    """

    id: str
    candidate: Candidate
    version: str
    title: str
    language: Detection
    chunks: tuple[Chunk, ...]


def read_content(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ExtractionFailed: the operating system refuses.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ExtractionFailed(f"cannot be read: {reason}", retry=True) from error


def hash_content(content: bytes) -> str:
    """Return the version of a document: the way its bytes become text, and a hash of them."""
    return _VERSION_PREFIX + hashlib.blake2b(content, digest_size=16).hexdigest()


def is_current(version: str) -> bool:
    """Tell whether a version was extracted as this program does."""
    return version.startswith(_VERSION_PREFIX)


def read_document(
    id: str,
    candidate: Candidate,
    extracted: Extracted,
    version: str,
    *,
    chunker: Chunker,
    languages: LanguageFinder,
) -> Document:
    """Cut an extracted text into chunks and find their languages."""
    text = extracted.text
    title = extracted.title[:_MAX_TITLE] or Path(candidate.name).stem
    language = languages.of_document(text, extracted.language)
    chunks = []
    for position, passage in enumerate(chunker.split(text, extracted.headings)):
        part = text[passage.start : passage.end]
        found = languages.of_passage(part, language)
        chunks.append(
            Chunk(
                id=identify_chunk(id, version, position),
                document_id=id,
                version=version,
                position=position,
                start=passage.start,
                end=passage.end,
                text=part,
                heading=passage.heading,
                language=found.code,
                language_confidence=found.confidence,
                path=candidate.name,
                folder=candidate.name.rpartition("/")[0] or "/",
                title=title,
                document_language=language.code,
                modified=candidate.mtime_ns / 1e9,
            )
        )
    return Document(id, candidate, version, title, language, tuple(chunks))


def identify_chunk(document_id: str, version: str, position: int) -> str:
    """Return a chunk's UUID: the same for the same passage of the same version of a document."""
    return str(uuid.uuid5(uuid.UUID(document_id), f"{version}/{position}"))
