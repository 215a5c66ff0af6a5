"""The settings of the web application: those of the indexer, and how to serve.

Every field is set by ``LUSIFER_<NAME>`` in the environment or by an option of ``lusifer serve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, field_validator

from indexer.settings import Settings as IndexerSettings
from search.request import Limits

if TYPE_CHECKING:
    from lusifer.embedder import TextEmbedder
    from search.index import SearchIndex
    from store.types import Schema

LogFormat = Literal["text", "json"]

#: Seconds that a person who searches waits for an embedding service that is busy or away.
SEARCHING_PATIENCE = 10.0


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
        2.0,
        ge=0,
        le=100,
        description="How long a question waits for others to be embedded with, in ms; not at all where the "
        "model is a table, as the shipped one.",
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

    @property
    def limits(self) -> Limits:
        """How much a search may ask for."""
        return Limits(self.max_query_characters, self.max_limit, self.max_offset)

    def load_model(self, reference: str | None = None) -> TextEmbedder:
        """Load the model that is set, or another one with the same device and key.

        Raises:
            SettingsError: the settings contradict each other.
            LusiferError: it cannot be loaded.
        """
        from lusifer.embedder import load_model

        return load_model(
            self.model_reference() if reference is None else reference,
            device=self.device,
            service=self.service_options(patience=SEARCHING_PATIENCE),
        )

    def search_index(self) -> SearchIndex:
        """Return the index to search; nothing is loaded or opened yet."""
        from search.index import SearchIndex, load_model_of

        def load(schema: Schema | None) -> TextEmbedder:
            if schema is None:
                return self.load_model()
            return load_model_of(schema, self.model_reference(schema.model), self.load_model)

        return SearchIndex(
            self.location(),
            load,
            limits=self.limits,
            candidates=self.candidates,
            batch_wait=self.batch_wait_ms / 1000,
        )
