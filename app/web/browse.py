"""``GET /documents``: the list of what is indexed, by path."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.deps import ResourcesDep
from app.documents import list_documents
from app.search.request import check_languages
from app.web.languages import language_of
from app.web.pages import Pages
from app.web.query import PageQuery
from app.web.results_view import common_root, short_path
from store.base import Filter

router = APIRouter()

PAGE_SIZE = 50


@router.get("/documents", name="documents")
async def documents(request: Request, resources: ResourcesDep) -> HTMLResponse:
    query = PageQuery.read(request.query_params)
    languages = check_languages(query.languages)
    filter = Filter(languages=languages, first_chunks=True)
    offset = (query.page - 1) * PAGE_SIZE
    found = await asyncio.to_thread(
        resources.index.ask, lambda store: list_documents(store, filter, limit=PAGE_SIZE, offset=offset)
    )
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
        "pages": max(1, -(-found.total // PAGE_SIZE)),
    }
    pages: Pages = request.app.state.pages
    return pages.page(request, "documents.html", values)
