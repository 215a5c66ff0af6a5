"""The OpenAPI document, with the problem schema that error answers refer to.

Knows FastAPI's document, no routes.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api.models import ParameterError, ProblemDetails


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
