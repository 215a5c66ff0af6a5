"""Which model the settings mean, and how to load it: the one place, for the indexer and the application.

Must not import a model library before a model is loaded.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import UsageError
from indexer.settings import Settings
from lusifer.service.options import ServiceOptions, is_service

if TYPE_CHECKING:
    from lusifer import Embedder

#: What the shipped model is called where it has to be told from others.
SHIPPED = "lusifer-mini"
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
    from lusifer import Embedder

    if not is_service(reference):
        return Embedder.load(reference or None, settings.device)
    return Embedder.load(reference, service=_options(settings, patience, expected))


def stamp_model(settings: Settings, made_with: str = "") -> str:
    """Return a sign that changes when the model does, without loading it or reading its files.

    A run compares it with the last one's: only if it differs is the model loaded to compare fingerprints.
    Arguments as for ``model_reference``.

    Raises:
        LusiferError: the model is a service's, which has to be asked, and it does not answer.
    """
    reference = model_reference(settings, made_with)
    if is_service(reference):
        from lusifer.service.backend import served_fingerprint

        return f"{reference}\n{served_fingerprint(reference, _options(settings, INDEXING_PATIENCE))}"
    folder = Path(reference) if reference else _shipped_model()
    if not folder.is_dir():
        return reference
    files = sorted(path for path in folder.iterdir() if path.is_file())
    marks = [f"{path.name}:{(status := path.stat()).st_size}:{status.st_mtime_ns}" for path in files]
    return "\n".join((str(folder.resolve()), *marks))


def _shipped_model() -> Path:
    spec = importlib.util.find_spec("lusifer")
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations or ("lusifer",)))) / "mini"


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
