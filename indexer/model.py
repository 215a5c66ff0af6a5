"""Which model the settings mean, and how to load it: the one place, for the indexer and the application.

Must not import a model library before a model is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import UsageError
from indexer.settings import Settings
from lusifer import embedder
from lusifer.service.options import ServiceOptions, is_service

if TYPE_CHECKING:
    from lusifer import Embedder

SHIPPED = embedder.DEFAULT_MODEL
#: How long an indexer waits for an embedding service that is busy or away, in seconds: long enough for a
#: large model to be loaded again.
INDEXING_PATIENCE = 600.0
#: How long a person who searches waits.
SEARCHING_PATIENCE = 10.0


def model_reference(settings: Settings, made_with: str = "") -> str:
    """Return what to load: a service's address, a folder, a hub id, or nothing for the shipped model.

    Args:
        settings: which model is wanted.
        made_with: what the index was made with, which is what counts where the settings name no model.

    Raises:
        UsageError: two different services are named.
    """
    model, url = settings.model, settings.embeddings_url
    if url is None:
        return made_with if model is None else _absolute(model)
    if is_service(model) and model != url:
        raise UsageError(
            "LUSIFER_MODEL and LUSIFER_EMBEDDINGS_URL name two services", hint="set one of them only"
        )
    if not is_service(url):
        raise UsageError(
            "LUSIFER_EMBEDDINGS_URL is not the address of a service", hint="give http://HOST:PORT"
        )
    return url


def load_model(settings: Settings, made_with: str = "", *, patience: float = INDEXING_PATIENCE) -> Embedder:
    """Load the model that the settings name.

    Args:
        settings: which model, and where it runs.
        made_with: as for ``model_reference``.
        patience: seconds to wait for an embedding service that is busy or away.

    Raises:
        UsageError: the settings contradict each other.
        LusiferError: it cannot be loaded.
    """
    reference = model_reference(settings, made_with)
    expected = settings.model if settings.embeddings_url and settings.model != reference else None
    return load_reference(reference, settings, patience=patience, expected=expected)


def load_reference(
    reference: str, settings: Settings, *, patience: float, expected: str | None = None
) -> Embedder:
    """Load what ``model_reference`` returned, now or when a collection was made; raises ``LusiferError``."""
    return embedder.load_model(
        reference, device=settings.device, service=_options(settings, patience, expected)
    )


def stamp_model(settings: Settings, made_with: str = "") -> str:
    """Return the stamp of the model that the settings name; arguments as for ``model_reference``."""
    reference = model_reference(settings, made_with)
    return embedder.model_stamp(reference, service=_options(settings, INDEXING_PATIENCE))


def _options(settings: Settings, patience: float, expected: str | None = None) -> ServiceOptions:
    key = settings.embeddings_api_key
    return ServiceOptions(
        api_key=None if key is None else key.get_secret_value(),
        timeout=min(settings.embeddings_timeout_seconds, patience),
        patience=patience,
        expected=expected,
    )


def _absolute(model: str) -> str:
    """Name a folder so that it is found from anywhere; leave the name of anything else."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    return "" if model == SHIPPED else model
