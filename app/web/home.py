"""``GET /``: the search page."""

from __future__ import annotations

import asyncio
import shlex

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.deps import ResourcesDep
from app.documents import Inventory, take_inventory
from app.errors import RequestError
from app.resources import Resources
from app.web.pages import Pages
from app.web.query import PAGE_SIZE, PageQuery
from app.web.results_view import ResultsView, view_results
from store.errors import StoreError, StoreMissing

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
