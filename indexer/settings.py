"""Settings shared by the command line and the server: option, then ``LUSIFER_*`` variable, then default.

``app/settings.py`` extends the class. Its methods turn values into what they name: a model, a location.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.settings import SettingsError
from lusifer.embedder import is_default, is_service, load_model, model_stamp
from lusifer.errors import ConfigError
from lusifer.service import ServiceOptions, normalise_url

if TYPE_CHECKING:
    from lusifer.embedder import TextEmbedder
    from store.location import IndexLocation

#: How long an indexer waits for an embedding service that is busy or away, in seconds: long enough for a
#: large model to be loaded again.
INDEXING_PATIENCE = 600.0
#: Names that ``store.server`` takes for a collection.
_COLLECTION = r"[^/:*?<>\\\"|\0]{1,180}"


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
        default_factory=default_data, description="Data folder: the manifests and the embedded store."
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
    max_file_megabytes: float = Field(
        default=64.0, gt=0, description="Files larger than this are skipped when indexing."
    )

    @field_validator("data")
    @classmethod
    def _absolute_data(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("model", "embeddings_url")
    @classmethod
    def _service_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and (info.field_name == "embeddings_url" or is_service(value)):
            try:
                normalise_url(value)
            except ConfigError as error:
                raise ValueError(f"{error.message}; {error.hint}") from None
            return value.strip()
        return value

    @field_validator("qdrant_url")
    @classmethod
    def _server_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parts = urlsplit(value)
                is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:  # brackets or a port that are none
                is_address = False
            if not is_address:
                raise ValueError("it is not the address of a Qdrant server; give one like http://HOST:6333")
        return value

    @field_validator("collection")
    @classmethod
    def _name_on_server(cls, value: str, info: ValidationInfo) -> str:
        named = re.fullmatch(_COLLECTION, value) and value not in (".", "..")
        if info.data.get("qdrant_url") is not None and not named:
            raise ValueError('a server takes at most 180 characters, without any of / : * ? < > \\ " |')
        return value

    def location(self) -> IndexLocation:
        """Return where the index is; nothing is opened yet."""
        from store import open_location

        return open_location(
            self.data,
            url=self.qdrant_url,
            api_key=_reveal(self.qdrant_api_key),
            collection=self.collection,
        )

    def model_reference(self, made_with: str = "") -> str:
        """Return what to load: a service's address, a folder, a hub id, or nothing for the shipped model.

        Args:
            made_with: what the index was made with, which counts where the settings name no model.

        Raises:
            SettingsError: two different services are named.
        """
        model, url = self.model, self.embeddings_url
        if url is None:
            return made_with if model is None else _absolute_model(model)
        if is_service(model) and model != url:
            raise SettingsError(
                "LUSIFER_MODEL and LUSIFER_EMBEDDINGS_URL name two services", hint="Set one of them only."
            )
        return url

    def service_options(self, patience: float = INDEXING_PATIENCE) -> ServiceOptions:
        """Return how to use an embedding service.

        Args:
            patience: seconds to wait for one that is busy or away.
        """
        names_model = self.embeddings_url is not None and self.model != self.embeddings_url
        return ServiceOptions(
            api_key=_reveal(self.embeddings_api_key),
            timeout=min(self.embeddings_timeout_seconds, patience),
            patience=patience,
            expected=self.model if names_model else None,
        )

    def choose_model(self, made_with: str = "") -> ModelChoice:
        """Return the model to index with; arguments and errors as for ``model_reference``."""
        return ModelChoice(self.model_reference(made_with), self.device, self.service_options())


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that is not loaded yet.

    Attributes:
        reference: what to load, as ``lusifer.embedder.load_model`` takes it.
        device: where it runs.
        service: how to use an embedding service, if it is one.
    """

    reference: str
    device: str | None
    service: ServiceOptions

    def load(self) -> TextEmbedder:
        """Load it; raises ``LusiferError`` if it cannot be loaded."""
        return load_model(self.reference, device=self.device, service=self.service)

    def stamp(self) -> str:
        """Return a sign that changes when the model may have, without loading it."""
        return model_stamp(self.reference, service=self.service)


def _absolute_model(model: str) -> str:
    """Name a folder so that it is found from anywhere; leave the name of anything else."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    return "" if is_default(model) else model


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
