"""Settings shared by the command line and the server: flag, then ``LUSIFER_*`` variable, then default.

One class, extended by ``app/settings.py``. Must not know what the values are used for.
"""

from __future__ import annotations

from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data() -> Path:
    """Return the platform's folder for the user's data of this program."""
    return Path(platformdirs.user_data_dir("lusifer-search", appauthor=False))


class Settings(BaseSettings):
    """Where the index lives and what makes its vectors.

    Example:
        >>> Settings(collection="papers").collection
        'papers'
    """

    model_config = SettingsConfigDict(env_prefix="LUSIFER_", env_ignore_empty=True, extra="ignore")

    data: Path = Field(
        default_factory=default_data, description="Data folder: the manifest and the embedded store."
    )
    model: str | None = Field(
        default=None,
        description="Name or folder of the model that embeds, or the address of an embedding service; "
        "the shipped lusifer-mini if not set.",
    )
    device: str | None = Field(
        default=None, description="Where the model runs (cpu, cuda, mps); chosen automatically if not set."
    )
    embeddings_url: str | None = Field(
        default=None,
        description="Address of an embedding service that runs the model; here, in this process, if not set.",
    )
    embeddings_api_key: SecretStr | None = Field(
        default=None, description="API key of the embedding service."
    )
    embeddings_timeout_seconds: float = Field(
        default=60.0, gt=0, description="How long one request to the embedding service may take."
    )
    qdrant_url: str | None = Field(
        default=None, description="Address of a Qdrant server or cluster; the embedded store if not set."
    )
    qdrant_api_key: SecretStr | None = Field(default=None, description="API key of the Qdrant server.")
    collection: str = Field(
        default="documents", min_length=1, description="Name of the collection on the Qdrant server."
    )
    switch_grace_seconds: float = Field(
        default=15.0,
        ge=0,
        description="How long the former collection stays after a change of model, for servers to follow.",
    )
    max_file_megabytes: float = Field(
        default=64.0, gt=0, description="Files larger than this are skipped when indexing."
    )
