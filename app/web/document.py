"""``GET /documents/{id}``: the text of a document, with the passage that was found marked."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.deps import ResourcesDep
from app.documents import DocumentText, read_document
from app.marks import Span
from app.web.document_view import view_blocks
from app.web.languages import language_of
from app.web.pages import Pages
from app.web.query import PageQuery

router = APIRouter()

#: Passages on one page: some hundred screens, still quick to lay out.
PART = 300


@router.get("/documents/{document_id}", name="document")
async def document(request: Request, document_id: str, resources: ResourcesDep) -> HTMLResponse:
    number = _number(request, "passage")
    part = _number(request, "part")
    first = (part if part is not None else (number or 0) // PART) * PART
    found = await asyncio.to_thread(
        resources.index.ask, lambda store: read_document(store, document_id, first=first, most=PART)
    )
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
    pages: Pages = request.app.state.pages
    return pages.page(request, "document.html", values)


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
