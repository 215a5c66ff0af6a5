"""The pages: they work without JavaScript, in every direction of writing."""

from __future__ import annotations

from fastapi import APIRouter

from app.pages.document import router as document_router
from app.pages.login import router as login_router
from app.pages.reference import router as reference_router
from app.pages.search import router as home_router

web_router = APIRouter(include_in_schema=False)
for _router in (
    home_router,
    document_router,
    login_router,
    reference_router,
):
    web_router.include_router(_router)

__all__ = ["web_router"]
