"""Finish the OpenAPI document: the problem schema that error answers refer to.

Knows FastAPI's document, no routes.
"""

from __future__ import annotations

from fastapi import FastAPI

from app.api.models import ParameterError, ProblemDetails


def complete_openapi(app: FastAPI) -> None:
    """Generate the document once and add what FastAPI cannot know of."""
    schemas = app.openapi().setdefault("components", {}).setdefault("schemas", {})
    for model in (ParameterError, ProblemDetails):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
