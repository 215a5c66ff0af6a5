"""``/api/v1/search``: the same question by GET and POST, the same object back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.models import SearchParameters, problems
from app.state import ResourcesDep
from search.result import SearchResult

router = APIRouter(tags=["search"])

EXAMPLE: dict[str, Any] = {
    "query": "how do bees survive the winter?",
    "language": {"code": "en", "confidence": 0.99},
    "total": 1,
    "good_match": True,
    "weak_below": 0.2,
    "offset": 0,
    "limit": 10,
    "hits": [
        {
            "document": {
                "id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
                "path": "/home/aino/notes/mehilaiset.md",
                "title": "Mehiläiset talvella",
                "language": "fi",
                "folder": "/home/aino/notes",
                "modified": 1763800000.0,
            },
            "score": 0.87,
            "passages": [
                {
                    "text": "Mehiläiset eivät nuku talviunta. Ne kerääntyvät palloksi ja tuottavat lämpöä.",
                    "start": 120,
                    "end": 197,
                    "language": "fi",
                    "score": 0.87,
                    "highlights": [[33, 77]],
                    "position": 1,
                    "heading": "Mehiläiset talvella",
                    "similarity": 0.61,
                }
            ],
        }
    ],
    "facets": {"language": {"fi": 1}, "folder": {"/home/aino/notes": 1}},
    "took_ms": 6.4,
}
_RESPONSES = {
    200: {"description": "The documents found.", "content": {"application/json": {"example": EXAMPLE}}},
    **problems(422, 503),
}


@router.get("/search", summary="Search", responses=_RESPONSES)
async def search(parameters: Annotated[SearchParameters, Query()], resources: ResourcesDep) -> SearchResult:
    """Find the documents that answer a question, whatever languages both are in."""
    return await resources.index.search(parameters.as_request())


@router.post("/search", summary="Search, with the question in the body", responses=_RESPONSES)
async def search_by_post(parameters: SearchParameters, resources: ResourcesDep) -> SearchResult:
    """Do the same as by GET, and keep the question out of addresses and the logs of proxies."""
    return await resources.index.search(parameters.as_request())
