"""Shapes of the API's parameters and answers that are not the search result itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.problems import MEDIA_TYPE
from common.languages import CODES
from search.request import SearchRequest
from search.result import DocumentRef

LanguageList = Annotated[
    list[str],
    Field(description=f"Only these languages; repeat it for several. One of {', '.join(CODES)}."),
]
FolderText = Annotated[
    str | None, Field(description="Only documents below this absolute path of a folder (or this file).")
]
Moment = Annotated[datetime | None, Field(description="ISO 8601 date or time; UTC if it has no zone.")]


class SearchParameters(BaseModel):
    """A question with its filters."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"q": "how do bees survive the winter?", "language": ["fi", "ru"], "limit": 5}]
        },
    )

    q: str = Field(description="The question, in any of the languages; at most 1000 characters by default.")
    limit: int = Field(10, description="Documents on the page: 1 to 50 by default.")
    offset: int = Field(0, description="Documents to leave out first: at most 1000 by default.")
    language: LanguageList = []
    folder: FolderText = None
    modified_from: Moment = None
    modified_to: Moment = None
    query_language: str | None = Field(None, description="Language of the question, if it is known.")

    def as_request(self) -> SearchRequest:
        return SearchRequest(
            text=self.q,
            languages=tuple(self.language),
            folder=self.folder,
            modified_from=seconds(self.modified_from),
            modified_to=seconds(self.modified_to),
            limit=self.limit,
            offset=self.offset,
            query_language=self.query_language,
        )


def seconds(moment: datetime | None) -> float | None:
    """Seconds since the epoch; a time without zone is taken as UTC."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class DocumentPage(BaseModel):
    """Some of the documents in the index, by path."""

    total: int = Field(description="Documents that match, all pages together.")
    offset: int
    limit: int
    documents: list[DocumentRef]


class PassageSpan(BaseModel):
    """Where a passage is in its document's text."""

    position: int = Field(description="Number of the passage, from 0.")
    start: int
    end: int
    language: str
    heading: str


class DocumentDetail(DocumentRef):
    """A document with its text."""

    text: str
    passages: list[PassageSpan]


class ModelInfo(BaseModel):
    """The model that embeds questions."""

    name: str
    fingerprint: str
    dimensions: int
    max_tokens: int


class Trouble(BaseModel):
    """Why nothing can be found."""

    message: str
    hint: str


class Status(BaseModel):
    """What is indexed, and by what."""

    version: str
    state: Literal["ready", "empty", "unavailable"]
    documents: int
    chunks: int
    languages: dict[str, int] = Field(description="Documents by language.")
    fingerprint: str | None = Field(description="What made the index's vectors.")
    store: Literal["embedded", "server"]
    model: ModelInfo
    trouble: Trouble | None = None


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
