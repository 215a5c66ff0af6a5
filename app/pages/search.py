"""``GET /documents``: the list of what is indexed, by path."""

from __future__ import annotations

import asyncio
import shlex

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.pages.query import PAGE_SIZE, PageQuery
from app.pages.rendering import Pages, language_of
from app.pages.results import ResultsView, common_root, short_path, view_results
from app.problems import RequestError
from app.state import Resources, ResourcesDep
from search.documents import Inventory, list_documents, take_inventory
from search.request import check_languages
from store.errors import StoreError, StoreMissing
from store.types import Filter

# ``GET /``: the search page.


router = APIRouter()


@router.get("/", name="home")
async def home(request: Request, resources: ResourcesDep) -> HTMLResponse:
    query = PageQuery.read(request.query_params)
    pages: Pages = request.app.state.pages
    results: ResultsView | None = None
    inventory: Inventory | None = None
    trouble: RequestError | StoreError | None = None
    try:
        if query.q:
            results = await _search(resources, query)
        else:
            inventory = await asyncio.to_thread(resources.index.ask, take_inventory)
    except (RequestError, StoreError) as error:
        trouble = error
    nothing_indexed = isinstance(trouble, StoreMissing) or (inventory is not None and not inventory.documents)
    values = {
        "query": query,
        "results": results,
        "inventory": inventory,
        "trouble": None if nothing_indexed else trouble,
        "nothing_indexed": nothing_indexed,
        "data": shlex.quote(str(resources.settings.data)),
        "max_query": resources.limits.query_characters,
    }
    return pages.page(request, "search.html", values, _status(trouble))


def _status(trouble: RequestError | StoreError | None) -> int:
    if trouble is None or isinstance(trouble, StoreMissing):
        return 200
    return trouble.status if isinstance(trouble, RequestError) else 503


async def _search(resources: Resources, query: PageQuery) -> ResultsView:
    result = await resources.index.search(query.as_request())
    return view_results(result, query, most_pages=resources.limits.offset // PAGE_SIZE + 1)


LIST_SIZE = 50


@router.get("/documents", name="documents")
async def documents(request: Request, resources: ResourcesDep) -> HTMLResponse:
    query = PageQuery.read(request.query_params)
    languages = check_languages(query.languages)
    filter = Filter(languages=languages, first_chunks=True)
    offset = (query.page - 1) * LIST_SIZE
    found = await asyncio.to_thread(
        resources.index.ask,
        lambda store: list_documents(store, filter, limit=LIST_SIZE, offset=offset),
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
        "pages": max(1, -(-found.total // LIST_SIZE)),
    }
    pages: Pages = request.app.state.pages
    return pages.page(request, "documents.html", values)
