"""The pages: they work without JavaScript, in every direction of writing."""

from __future__ import annotations

from fastapi import APIRouter

from app.pages import documents, login, reference, search

pages_router = APIRouter(include_in_schema=False)
for _module in (search, documents, login, reference):
    pages_router.include_router(_module.router)
