"""The one result object: what a search answers, on the page, in the API and on the command line.

Field order is the order in JSON.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from lusifer.detection import Detection


class DocumentRef(BaseModel):
    """A document found."""

    id: str = Field(description="32 hexadecimal digits.")
    path: str
    title: str
    language: str = Field(description="ISO 639-1 code of the document as a whole.")
    folder: str
    modified: float = Field(description="Time of the last change, in seconds since the epoch.")


class Passage(BaseModel):
    """A passage of a document that answers the question."""

    text: str = Field(description="The passage without white space around it.")
    start: int = Field(description="Offset of the passage in the document's text, in characters.")
    end: int = Field(description="Offset of the character after the passage.")
    language: str = Field(description="ISO 639-1 code of the passage.")
    score: float = Field(ge=0, le=1, description="How likely it is that the passage answers the question.")
    highlights: list[tuple[int, int]] = Field(
        description="Best matching sentence: [start, end] offsets in `text`, always whole sentences."
    )
    position: int = Field(description="Number of the passage in its document, from 0.")
    heading: str = Field(description="Headings above the passage, joined by ' › '.")
    similarity: float = Field(description="Cosine of the question's and the passage's vectors.")


class Hit(BaseModel):
    """A document with its best passages, best first."""

    document: DocumentRef
    score: float = Field(ge=0, le=1, description="Score of its best passage; never rises down the list.")
    passages: list[Passage]


class Facets(BaseModel):
    """How many documents each choice of a filter would leave, that filter itself left out."""

    language: dict[str, int] = Field(description="Documents by the language of their best passage.")
    folder: dict[str, int] = Field(description="Documents by the folder they are in.")


class SearchResult(BaseModel):
    """The answer to a question."""

    query: str
    language: Detection = Field(description="Of the question; sure if the sender said it.")
    total: int = Field(description="Documents found, all pages together.")
    good_match: bool = Field(
        description="Whether the best document of all pages is likely about what was asked; if not, nothing "
        "good was found and the hits are merely the nearest."
    )
    weak_below: float = Field(ge=0, le=1, description="Hits that score less are most likely irrelevant.")
    offset: int = Field(description="Documents left out before this page.")
    limit: int = Field(description="Most documents on this page.")
    hits: list[Hit]
    facets: Facets
    took_ms: float = Field(description="Time from the question to this object, in milliseconds.")
