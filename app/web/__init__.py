"""The pages: they work without JavaScript, in every direction of writing."""

from __future__ import annotations

from fastapi import APIRouter

from app.web.browse import router as browse_router
from app.web.document import router as document_router
from app.web.home import router as home_router
from app.web.login import router as login_router
from app.web.opensearch import router as opensearch_router
from app.web.reference import router as reference_router

web_router = APIRouter(include_in_schema=False)
for _router in (
    home_router,
    browse_router,
    document_router,
    login_router,
    opensearch_router,
    reference_router,
):
    web_router.include_router(_router)

__all__ = ["web_router"]
