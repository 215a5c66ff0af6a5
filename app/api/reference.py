"""The OpenAPI document, with the problem schema that error answers refer to.

Knows FastAPI's document, no routes.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.security import APIKeyHeader, HTTPBearer

from app.api.models import ParameterError, ProblemDetails

# How the OpenAPI document speaks of the key. ``app.security`` has checked it before a route is reached.


#: The two ways of sending the key.
KEY_SCHEMES = (
    HTTPBearer(auto_error=False, description="The server's API key, if it has one."),
    APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own."),
)


class DescribedApp(FastAPI):
    """A FastAPI application whose document has the schemas that FastAPI cannot know of."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; made when first asked for."""
        if self.openapi_schema is None:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            for model in (ParameterError, ProblemDetails):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schema.pop("$defs", None)
                schemas[model.__name__] = schema
        return super().openapi()
