"""The OpenAPI document: how it speaks of errors and of the key, which FastAPI cannot know.

``app.security`` checks the key before a route is reached.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field

from app.problems import MEDIA_TYPE

#: For routers whose routes take the key, in either of two ways.
KEY = (
    Security(HTTPBearer(auto_error=False, description="The server's API key, if it has one.")),
    Security(
        APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own.")
    ),
)


class ParameterError(BaseModel):
    """One parameter at fault."""

    parameter: str
    message: str
    limit: int | None = None


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=["urn:lusifer-search:problem:invalid-request"])
    title: str
    status: int
    detail: str = Field(description="What happened.")
    hint: str | None = Field(None, description="What to do about it.")
    request_id: str
    errors: list[ParameterError] | None = None


_MEANING = {
    401: "The server has an API key and it was not sent, or not the right one.",
    404: "There is no such document in the index, or another model is served.",
    413: "The request body is above its limit.",
    422: "A parameter is missing, unknown or above its limit; `errors` says which.",
    429: "Too much is waiting for the model; `Retry-After` says when to try again.",
    503: "Nothing is indexed yet, or the store or the model cannot be reached.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for the OpenAPI document."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {
        status: {"description": _MEANING[status], "content": {MEDIA_TYPE: schema}}
        for status in (401, *statuses)
    }


class DescribedApp(FastAPI):
    """A FastAPI application whose document has the schemas of errors."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; made when first asked for."""
        if self.openapi_schema is None:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            for model in (ParameterError, ProblemDetails):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schema.pop("$defs", None)
                schemas[model.__name__] = schema
        return super().openapi()
