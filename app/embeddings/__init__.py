"""The embedding service: one model, here, for indexers and applications elsewhere.

``POST /v1/embeddings`` as OpenAI's clients speak it, and what our own client needs beside it. Must not know
what is indexed.
"""

from __future__ import annotations

from fastapi import APIRouter, Security

from app.api.reference import KEY_SCHEMES
from app.embeddings.routes import router

serving_router = APIRouter(prefix="/v1", dependencies=[Security(scheme) for scheme in KEY_SCHEMES])
serving_router.include_router(router)

__all__ = ["serving_router"]
