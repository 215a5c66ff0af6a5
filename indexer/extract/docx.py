"""Word files (``.docx``): paragraphs, headings by style, tables, footnotes and endnotes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexer.errors import ExtractionFailed
from indexer.extract.base import Extracted, TextBuilder, open_archive

_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOTES = re.compile(r"/word/(?:footnotes|endnotes)\.xml")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


class DocxExtractor:
    """Reads ``.docx``."""

    def accepts(self, path: Path) -> bool:
        # Word keeps a lock file beside an open document under its name with this prefix.
        return path.suffix.lower() == ".docx" and not path.name.startswith("~$")

    def extract(self, path: Path, content: bytes) -> Extracted:  # noqa: ARG002 - the protocol's signature
        from docx import Document

        if content.startswith(b"\xd0\xcf\x11\xe0"):
            raise ExtractionFailed(
                "encrypted, or in the old .doc format: save it as .docx without a password"
            )
        _refuse_entities(content)
        document = Document(io.BytesIO(content))
        builder = TextBuilder()
        title = _add_blocks(document.iter_inner_content(), builder)
        for note in _notes(document.part):
            builder.add(note + "\n\n")
        properties = document.core_properties
        return builder.build(title=properties.title or title, language=properties.language or "")


def _refuse_entities(content: bytes) -> None:
    """Refuse files with a document type declaration: Word writes none, and entities expand without bound."""
    with open_archive(content) as archive:
        for member in archive.infolist():
            if not member.filename.lower().endswith((".xml", ".rels")):
                continue
            part = archive.read(member)
            # Without its NULs, UTF-16 reads like ASCII in either byte order.
            if b"<!DOCTYPE" in part or (b"\x00" in part and b"<!DOCTYPE" in part.replace(b"\x00", b"")):
                raise ExtractionFailed("refused: it declares XML entities, which no Word document needs")


def _add_blocks(blocks: Iterator[Any], builder: TextBuilder) -> str:
    """Append paragraphs and tables in order; return the text of the title paragraph, if there is one."""
    from docx.table import Table

    title = ""
    for block in blocks:
        if isinstance(block, Table):
            _add_table(block, builder)
            continue
        style = (block.style.name if block.style is not None else "") or ""
        heading = _HEADING.fullmatch(style)
        if heading or style == "Title":
            builder.add_heading(block.text, int(heading[1]) if heading else 1)
            title = title or block.text
        elif block.text.strip():
            builder.add(block.text + "\n\n")
    return title


def _add_table(table: Any, builder: TextBuilder) -> None:
    """Append a table, a line for each row; a cell that spans several columns or rows is written once."""
    seen = set()
    for row in table.rows:
        cells = []
        for cell in row.cells:
            if cell._tc not in seen:
                seen.add(cell._tc)
                cells.append(" ".join(cell.text.split()))
        if any(cells):
            builder.add("\t".join(cells) + "\n")
    builder.add("\n")


def _notes(part: Any) -> Iterator[str]:
    """Yield the text of each footnote and endnote, read from the parts python-docx does not know."""
    from docx.oxml import parse_xml

    for relation in part.rels.values():
        if relation.is_external or not _NOTES.fullmatch(str(relation.target_part.partname)):
            continue
        for note in parse_xml(relation.target_part.blob):
            text = "".join(run.text or "" for run in note.iter(f"{_WORD}t"))
            if text.strip():
                yield text.strip()
