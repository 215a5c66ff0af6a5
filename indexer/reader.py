"""Turn one file into what is stored of it: the manifest's entry and the chunks to embed."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from indexer.errors import ExtractionFailed, Unreadable
from indexer.extract import Extracted, Registry
from indexer.extract.base import EXTRACTION_VERSION
from indexer.manifest import Record
from indexer.text.chunk import Chunker
from indexer.walk import SourceFile, describe_refusal
from store.types import Chunk

if TYPE_CHECKING:
    from indexer.text.language import LanguageFinder

NO_TEXT = "no text in it"
_MAX_TITLE = 300
_VERSION_PREFIX = f"{EXTRACTION_VERSION}."


class Reader:
    """Reads files; what it needs for their texts is made when the first one is cut.

    Args:
        registry: the extractors.
        make_chunker: makes the chunker for the model, which has to be loaded for it.
        languages: finds languages; the default way if not given.
    """

    def __init__(
        self, registry: Registry, make_chunker: Callable[[], Chunker], languages: LanguageFinder | None = None
    ) -> None:
        self._registry = registry
        self._make_chunker = make_chunker
        self._given_languages = languages

    def read(self, file: SourceFile, former: Record | None) -> tuple[Record, list[Chunk]]:
        """Read a file, if its content is not what it was.

        Args:
            file: where it is.
            former: what the manifest remembers of it.

        Returns:
            What the manifest is to remember, and the chunks to store. There are none where the content is as
            it was, cannot be read or has no text: the entry's state says which.
        """
        entry = Record(file.id, file.path, file.size, file.mtime_ns, checked_ns=time.time_ns())
        try:
            content = read_content(file.file)
            entry = replace(entry, version=hash_content(content))
            if former is not None and _is_unchanged(former, entry.version):
                return _checked_again(former, entry), []
            extracted = self._registry.extract(file.file, content)
        except ExtractionFailed as error:
            return replace(entry, state="failed", reason=error.message, retry=error.retry), []
        if not extracted.text.strip():
            return replace(entry, state="skipped", reason=NO_TEXT), []
        return self._cut(extracted, entry)

    def _cut(self, extracted: Extracted, entry: Record) -> tuple[Record, list[Chunk]]:
        """Cut a text into chunks and find their languages."""
        text = extracted.text
        path = PurePosixPath(entry.path)
        title = extracted.title[:_MAX_TITLE] or path.stem
        language = self._languages.of_document(text, extracted.language)
        chunks = []
        for position, passage in enumerate(self._chunker.split(text, extracted.headings)):
            part = text[passage.start : passage.end]
            chunks.append(
                Chunk(
                    id=identify_chunk(entry.id, entry.version, position),
                    document_id=entry.id,
                    version=entry.version,
                    position=position,
                    start=passage.start,
                    end=passage.end,
                    text=part,
                    heading=passage.heading,
                    language=self._languages.of_passage(part, language).code,
                    path=entry.path,
                    folder=str(path.parent),
                    title=title,
                    document_language=language.code,
                    modified=entry.mtime_ns / 1e9,
                )
            )
        entry = replace(entry, state="indexed", language=language.code, title=title, chunks=len(chunks))
        return entry, chunks

    @cached_property
    def _chunker(self) -> Chunker:
        return self._make_chunker()

    @cached_property
    def _languages(self) -> LanguageFinder:
        if self._given_languages is not None:
            return self._given_languages
        # Only when a text is read: a run over unchanged files is quick.
        from indexer.text.language import LanguageFinder

        return LanguageFinder()


def read_content(file: Path) -> bytes:
    """Read a file whole.

    Raises:
        Unreadable: the operating system refuses.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unreadable(describe_refusal(error)) from error


def hash_content(content: bytes) -> str:
    """Return the version of a document: the way its bytes become text, and a hash of them."""
    return _VERSION_PREFIX + hashlib.blake2b(content, digest_size=16).hexdigest()


def is_current(version: str) -> bool:
    """Tell whether a version was extracted as this program does."""
    return version.startswith(_VERSION_PREFIX)


def identify_chunk(document_id: str, version: str, position: int) -> str:
    """Return a chunk's UUID: the same for the same passage of the same version of a document."""
    return str(uuid.uuid5(uuid.UUID(document_id), f"{version}/{position}"))


def _is_unchanged(former: Record, version: str) -> bool:
    return former.version == version and former.state != "pending" and not former.retry


def _checked_again(former: Record, entry: Record) -> Record:
    """Return the entry of a file whose time of change is another, its content the same."""
    return replace(former, size=entry.size, mtime_ns=entry.mtime_ns, checked_ns=entry.checked_ns)
