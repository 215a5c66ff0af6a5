"""``GET /documents``: the list of what is indexed, and the text of each document."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.pages.rendering import common_root, get_pages, language_of, short_path
from app.pages.search import PageQuery
from app.state import StateDep
from common.languages import Language
from search.documents import DocumentText, list_documents, read_document
from search.request import check_languages
from search.snippets import Run, Span, make_runs, snap_to_words
from store.types import HEADING_SEPARATOR, Chunk, Filter

router = APIRouter(include_in_schema=False)

#: Documents on one page of the list.
LIST_SIZE = 50
#: Passages on one page of a document: some hundred screens, still quick to lay out.
PART = 300
#: A Markdown heading, or lines up to the next blank line or heading.
_BLOCK = re.compile(
    r"^(?P<marks>#{1,6})[ \t]+(?P<heading>.*\S)[ \t]*$|(?:^(?!#{1,6}[ \t]+\S).*\S.*(?:\n|$))+", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or a heading if ``level`` is not 0 (2 to 4).

    Attributes:
        level: level of the heading in the page.
        language: language of the text.
        runs: the text.
        anchor: whether the marked passage begins here.
    """

    level: int
    language: Language
    runs: tuple[Run, ...]
    anchor: bool = False


def view_blocks(chunks: Sequence[Chunk], passage: Span | None, sentence: Span | None) -> list[Block]:
    """Lay out a document's text, or a part of it.

    Args:
        chunks: the passages in a row, at least one.
        passage: span to mark, in the document's offsets.
        sentence: span inside it to mark more strongly.
    """
    base = chunks[0].start
    text = "".join(chunk.text for chunk in chunks)
    passage, sentence = _shift(text, passage, base), _shift(text, sentence, base)
    starts = [chunk.start - base for chunk in chunks]
    marked = sentence or passage
    blocks: list[Block] = []
    for match in _BLOCK.finditer(text):
        owner = chunks[max(0, bisect_right(starts, match.start()) - 1)]
        block = _block(match, owner, passage, sentence)
        first = not any(earlier.anchor for earlier in blocks)
        anchored = bool(first and marked and marked[0] < match.end() and marked[1] > match.start())
        blocks.append(Block(block.level, block.language, block.runs, anchored))
    return blocks


def _block(match: re.Match[str], owner: Chunk, passage: Span | None, sentence: Span | None) -> Block:
    language = language_of(owner.language)
    if match["marks"]:
        start, level = match.start("heading"), min(4, len(match["marks"]) + 1)
        body = match["heading"]
    else:
        start = match.start()
        body = match.group().rstrip()
        level = 3 if body.strip() in owner.heading.split(HEADING_SEPARATOR) else 0
    runs = make_runs(body, _move(passage, start), _move(sentence, start))
    return Block(level, language, tuple(runs))


def _move(span: Span | None, offset: int) -> Span | None:
    return None if span is None else (span[0] - offset, span[1] - offset)


def _shift(text: str, span: Span | None, base: int) -> Span | None:
    return None if span is None else snap_to_words(text, (span[0] - base, span[1] - base))


@router.get("/documents", name="documents")
def documents(request: Request, state: StateDep) -> HTMLResponse:
    """List what is indexed, by path."""
    query = PageQuery.read(request.query_params)
    languages = check_languages(query.languages)
    filter = Filter(languages=languages, first_chunks=True)
    offset = (query.page - 1) * LIST_SIZE
    found = state.index.ask(lambda store: list_documents(store, filter, limit=LIST_SIZE, offset=offset))
    root = common_root([chunk.folder for chunk in found.documents])
    rows = [
        (chunk, short_path(chunk.path, root), language_of(chunk.document_language))
        for chunk in found.documents
    ]
    values = {
        "query": query,
        "rows": rows,
        "total": found.total,
        "chosen": [language_of(code) for code in languages],
        "page": query.page,
        "pages": max(1, -(-found.total // LIST_SIZE)),
    }
    return get_pages(request).page(request, "documents.html", values)


@router.get("/documents/{document_id}", name="document")
def document(request: Request, document_id: str, state: StateDep) -> HTMLResponse:
    """Show the text of a document, with the passage that was found marked."""
    number = _number(request, "passage")
    part = _number(request, "part")
    first = (part if part is not None else (number or 0) // PART) * PART
    found = state.index.ask(lambda store: read_document(store, document_id, first=first, most=PART))
    passage = _passage(found, number)
    start, end = _number(request, "start"), _number(request, "end")
    sentence = (start, end) if start is not None and end is not None and start < end else None
    blocks = view_blocks(found.chunks, passage, sentence)
    chunk = found.first
    if first == 0 and blocks and "".join(run.text for run in blocks[0].runs) == chunk.title:
        blocks = blocks[1:]
    values = {
        "query": PageQuery.read(request.query_params),
        "document": chunk,
        "language": language_of(chunk.document_language),
        "blocks": blocks,
        "marked": any(block.anchor for block in blocks),
        "part": first // PART,
        "parts": -(-found.total // PART),
        "passages": found.total,
    }
    return get_pages(request).page(request, "document.html", values)


def _number(request: Request, name: str) -> int | None:
    """A number from the address; what is none is as good as absent."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _passage(found: DocumentText, number: int | None) -> Span | None:
    """Where a passage is, without the white space around it."""
    for chunk in found.chunks:
        if chunk.position == number:
            lead = len(chunk.text) - len(chunk.text.lstrip())
            return chunk.start + lead, chunk.start + len(chunk.text.rstrip())
    return None
