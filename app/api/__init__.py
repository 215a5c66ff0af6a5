"""The JSON API, version 1."""

from __future__ import annotations

from fastapi import APIRouter, Security

from app.api.documents import router as documents_router
from app.api.reference import KEY_SCHEMES
from app.api.search import router as search_router
from app.api.status import router as status_router

api_router = APIRouter(prefix="/api/v1", dependencies=[Security(scheme) for scheme in KEY_SCHEMES])
api_router.include_router(search_router)
api_router.include_router(documents_router)
api_router.include_router(status_router)

__all__ = ["api_router"]
