"""The JSON API, version 1."""

from __future__ import annotations

from fastapi import APIRouter, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from app.api.documents import router as documents_router
from app.api.search import router as search_router
from app.api.status import router as status_router

# These only describe the key in the OpenAPI document: app.security has checked it before a route is reached.
_BEARER = HTTPBearer(auto_error=False, description="The server's API key, if it has one.")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own.")

api_router = APIRouter(prefix="/api/v1", dependencies=[Security(_BEARER), Security(_HEADER)])
api_router.include_router(search_router)
api_router.include_router(documents_router)
api_router.include_router(status_router)

__all__ = ["api_router"]
