"""Load the model and open the index that the settings name: for the server and for single commands.

Must not import a web framework: ``lusifer search`` is to be quick.
"""

from __future__ import annotations

from collections.abc import Callable

from app.embedding import Embedding
from app.search.request import Limits
from app.settings import Settings
from store.base import Store

ModelLoader = Callable[[Settings], Embedding]
StoreOpener = Callable[[Settings, Embedding], Store]


def limits_of(settings: Settings) -> Limits:
    """How much may be asked for at a time."""
    return Limits(settings.max_query_characters, settings.max_limit, settings.max_offset)


def load_model(settings: Settings) -> Embedding:
    """Load the model the settings name.

    Raises:
        UsageError: the settings contradict each other.
        LusiferError: it cannot be loaded.
    """
    from indexer.model import SEARCHING_PATIENCE
    from indexer.model import load_model as load

    return load(settings, patience=SEARCHING_PATIENCE)


def open_index(settings: Settings, model: Embedding) -> Store:
    """Open the store that was filled with this model.

    Raises:
        StoreError: there is none, another model filled it, or it cannot be reached.
    """
    from indexer.schema import collection_schema
    from store import open_store

    key = settings.qdrant_api_key
    return open_store(
        settings.data,
        collection_schema(model),
        url=settings.qdrant_url,
        api_key=None if key is None else key.get_secret_value(),
        collection=settings.collection,
    )
