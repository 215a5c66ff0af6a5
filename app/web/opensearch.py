"""``/opensearch.xml``: lets a browser offer this search in its address bar."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.web.pages import Pages

router = APIRouter()


@router.get("/opensearch.xml", name="opensearch")
async def opensearch(request: Request) -> Response:
    pages: Pages = request.app.state.pages
    body = pages.text("opensearch.xml", base=str(request.base_url).rstrip("/"))
    return Response(body, media_type="application/opensearchdescription+xml")
