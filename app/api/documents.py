"""``/api/v1/documents``: what is in the index. Files are not touched."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.models import (
    DocumentDetail,
    DocumentPage,
    FolderText,
    LanguageList,
    PassageSpan,
    problems,
)
from app.state import ResourcesDep
from search.documents import list_documents, read_document
from search.request import check_languages, check_number, normalise_folder
from search.result import DocumentRef
from store.types import Chunk, Filter

router = APIRouter(tags=["documents"])

#: A list entry is small; more of them fit on a page than hits.
MOST_DOCUMENTS = 500
#: An offset is an integer of the store.
MOST_OFFSET = 10_000_000


@router.get("/documents", summary="List documents", responses=problems(422, 503))
async def documents(
    resources: ResourcesDep,
    limit: Annotated[int, Query(description=f"Documents on the page: 1 to {MOST_DOCUMENTS}.")] = 50,
    offset: Annotated[int, Query(description="Documents to leave out first.")] = 0,
    language: Annotated[LanguageList, Query()] = [],  # noqa: B006 (FastAPI copies it)
    folder: Annotated[FolderText, Query()] = None,
) -> DocumentPage:
    """List the documents in the index by path. A document counts as the language it begins in."""
    check_number("limit", limit, 1, MOST_DOCUMENTS)
    check_number("offset", offset, 0, MOST_OFFSET)
    filter = Filter(
        languages=check_languages(language), path_prefix=normalise_folder(folder), first_chunks=True
    )
    found = await asyncio.to_thread(
        resources.index.ask, lambda store: list_documents(store, filter, limit=limit, offset=offset)
    )
    summaries = [DocumentRef(**_summary(chunk)) for chunk in found.documents]
    return DocumentPage(total=found.total, offset=offset, limit=limit, documents=summaries)


@router.get("/documents/{document_id}", summary="Read a document", responses=problems(404, 422, 503))
async def document(
    document_id: Annotated[str, Path(description="32 hexadecimal digits, as in a hit.")],
    resources: ResourcesDep,
) -> DocumentDetail:
    """Give a document's text as it was indexed, and where its passages are in it."""
    found = await asyncio.to_thread(resources.index.ask, lambda store: read_document(store, document_id))
    spans = [
        PassageSpan(
            position=chunk.position,
            start=chunk.start,
            end=chunk.end,
            language=chunk.language,
            heading=chunk.heading,
        )
        for chunk in found.chunks
    ]
    return DocumentDetail(**_summary(found.first), text=found.text, passages=spans)


def _summary(chunk: Chunk) -> dict[str, Any]:
    return {
        "id": chunk.document_id,
        "path": chunk.path,
        "title": chunk.title,
        "language": chunk.document_language,
        "folder": chunk.folder,
        "modified": chunk.modified,
    }
