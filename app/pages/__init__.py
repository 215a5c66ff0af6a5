"""The pages: they work without JavaScript, in every direction of writing."""

from __future__ import annotations

from app.pages import documents, login, reference, search

ROUTERS = (search.router, documents.router, login.router, reference.router)
