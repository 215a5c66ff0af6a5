"""The JSON API, version 1: search, documents, status; and health for machines.

Handlers block and FastAPI runs each in a thread.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from app import program_version
from app.api.models import (
    DocumentDetail,
    DocumentPage,
    FolderText,
    Health,
    LanguageList,
    ModelInfo,
    PassageSpan,
    Readiness,
    SearchParameters,
    Status,
    StoreState,
    Trouble,
)
from app.api.openapi import KEY, problems
from app.cli.hints import remedy
from app.security import PUBLIC
from app.state import AppState, StateDep
from search.documents import list_documents, read_document, take_inventory
from search.request import check_languages, check_number, normalise_folder
from search.result import SearchResult
from search.service import document_ref
from store.errors import FingerprintMismatch, StoreError, StoreMissing
from store.types import Filter

api_router = APIRouter(prefix="/api/v1", dependencies=list(KEY))
health_router = APIRouter(tags=["health", PUBLIC])
log = logging.getLogger("lusifer.health")

#: A list entry is small; more of them fit on a page than hits.
MOST_DOCUMENTS = 500
#: An offset is an integer of the store.
MOST_OFFSET = 10_000_000
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


@api_router.get("/search", tags=["search"], summary="Search", responses=_RESPONSES)
def search(parameters: Annotated[SearchParameters, Query()], state: StateDep) -> SearchResult:
    """Find the documents that answer a question, in any of the languages, whichever the question is in."""
    return state.index.search(parameters.as_request())


@api_router.post(
    "/search", tags=["search"], summary="Search, with the question in the body", responses=_RESPONSES
)
def search_by_post(parameters: SearchParameters, state: StateDep) -> SearchResult:
    """Do the same as by GET, and keep the question out of addresses and the logs of proxies."""
    return state.index.search(parameters.as_request())


@api_router.get("/documents", tags=["documents"], summary="List documents", responses=problems(422, 503))
def documents(
    state: StateDep,
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
    found = state.index.ask(lambda store: list_documents(store, filter, limit=limit, offset=offset))
    return DocumentPage(
        total=found.total, offset=offset, limit=limit, documents=[document_ref(c) for c in found.documents]
    )


@api_router.get(
    "/documents/{document_id}",
    tags=["documents"],
    summary="Read a document",
    responses=problems(404, 422, 503),
)
def document(
    document_id: Annotated[str, Path(description="32 hexadecimal digits, as in a hit.")], state: StateDep
) -> DocumentDetail:
    """Give a document's text as it was indexed, and where its passages are in it."""
    found = state.index.ask(lambda store: read_document(store, document_id))
    passages = [PassageSpan.model_validate(chunk, from_attributes=True) for chunk in found.chunks]
    return DocumentDetail(**document_ref(found.first).model_dump(), text=found.text, passages=passages)


@api_router.get("/status", tags=["status"], summary="What is indexed", responses=problems())
def status(state: StateDep) -> Status:
    """Say what is indexed, by which model, and what is wrong if nothing can be found."""
    model = state.index.model.model
    status = Status(
        version=program_version(),
        state="ready",
        documents=0,
        chunks=0,
        languages={},
        fingerprint=None,
        store="server" if state.settings.qdrant_url else "embedded",
        model=ModelInfo.model_validate(model, from_attributes=True),
    )
    try:
        inventory = state.index.ask(take_inventory)
    except StoreError as error:
        status.state = "empty" if isinstance(error, StoreMissing) else "unavailable"
        status.trouble = Trouble(message=error.message, hint=remedy(error))
        return status
    status.state = "ready" if inventory.documents else "empty"
    status.documents, status.chunks = inventory.documents, inventory.chunks
    status.languages, status.fingerprint = inventory.languages, inventory.fingerprint
    return status


@health_router.get("/healthz", summary="Does the process answer?")
async def healthz() -> Health:
    return Health()


@health_router.get(
    "/readyz",
    summary="Can searches be answered?",
    responses={503: {"model": Readiness, "description": "Not now: see `store`."}},
)
def readyz(state: StateDep, response: Response) -> Readiness:
    found = _store_state(state)
    if found != "ok":
        response.status_code = 503
    return Readiness(status="ready" if found == "ok" else "not ready", store=found)


def _store_state(state: AppState) -> StoreState:
    try:
        state.index.ask(lambda store: store.count())
    except StoreMissing:
        return "nothing indexed"
    except FingerprintMismatch:
        return "made by another model"
    except StoreError as error:
        log.warning("not ready: %s", type(error).__name__)
        return "unavailable"
    return "ok"
