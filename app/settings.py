"""The settings of the web application: those of the indexer, and how to serve.

Every field is set by ``LUSIFER_<NAME>`` in the environment or by an option of ``lusifer serve``. Must not
open anything.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from indexer.settings import Settings as IndexerSettings

LogFormat = Literal["text", "json"]


class Settings(IndexerSettings):
    """How to serve searches."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs an API key."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_key: SecretStr | None = Field(
        None, description="Key that every request has to show; none is needed on loopback if this is not set."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description='Host names to answer to besides loopback ones, as JSON: ["search.example.org"].',
    )
    log_format: LogFormat = Field("text", description="Form of the log lines on standard error.")
    max_query_characters: int = Field(1000, ge=1, description="Longest question accepted, in characters.")
    max_limit: int = Field(50, ge=1, le=200, description="Most documents on one page of an answer.")
    max_offset: int = Field(1000, ge=0, description="Most documents that can be left out before a page.")
    max_body_bytes: int = Field(65536, ge=1024, description="Largest request body accepted, in bytes.")
    candidates: int = Field(
        200, ge=10, le=2000, description="Passages that the semantic and the lexical half each contribute."
    )
    batch_wait_ms: float = Field(
        2.0, ge=0, le=100, description="How long a question waits for others to be embedded with, in ms."
    )
    embeddings_max_inputs: int = Field(
        512, ge=1, description="Most texts in a request to the embedding service (`/v1/embeddings`)."
    )
    embeddings_max_characters: int = Field(
        100_000, ge=1, description="Longest text the embedding service takes, in characters."
    )
    embeddings_max_body_bytes: int = Field(
        16 * 2**20, ge=1024, description="Largest request body the embedding service takes, in bytes."
    )
    embeddings_queue: int = Field(
        4096,
        ge=1,
        description="Texts that may wait for the model in the embedding service; beyond that it answers 429.",
    )
    session_hours: int = Field(12, ge=1, description="How long a browser stays signed in, in hours.")

    @field_validator("api_key", mode="before")
    @classmethod
    def _empty_key_is_none(cls, value: object) -> object:
        """Treat ``LUSIFER_API_KEY=`` as not set: an empty key would protect nothing."""
        return None if isinstance(value, str) and not value.strip() else value
