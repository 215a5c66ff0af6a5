"""Shapes of the API's parameters and answers, besides the search result itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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


StoreState = Literal["ok", "nothing indexed", "made by another model", "unavailable"]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether searches can be answered, and if not, which part is missing."""

    status: Literal["ready", "not ready"]
    model: Literal["ok"] = "ok"
    store: StoreState
