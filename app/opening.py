"""Load the model and open the index that the settings name: for the server and for single commands.

The index counts: it is searched with the model that made it, whatever the settings say. Must not import a web
framework: ``lusifer search`` is to be quick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from app.embedding import Embedding
from app.search.request import Limits
from app.settings import Settings
from lusifer.errors import LusiferError
from store.base import Schema, Store
from store.errors import FingerprintMismatch, StoreError

ModelLoader = Callable[[Settings], Embedding]
StoreOpener = Callable[[Settings, Embedding], Store]

log = logging.getLogger("lusifer.index")


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


def load_index_model(settings: Settings) -> Embedding:
    """Load the model that made the index; the one the settings name where there is no such index or model.

    Raises:
        UsageError, LusiferError: as for ``load_model``.
    """
    try:
        schema = find_schema(settings)
        if schema is not None:
            return load_for(settings, schema)
    except StoreError as error:
        # Whoever asks the store will be told; a server can be started all the same.
        log.warning("%s", error)
    return load_model(settings)


def load_for(settings: Settings, schema: Schema) -> Embedding:
    """Load the model that made an index: the one the settings name, or else the one the index names.

    Raises:
        UsageError: the settings contradict each other.
        FingerprintMismatch: neither is that model, or can be loaded.
    """
    from indexer.model import SEARCHING_PATIENCE, SHIPPED, load_reference, model_reference
    from indexer.model import load_model as load
    from indexer.schema import collection_schema

    wanted = model_reference(settings, schema.model)
    reasons = []
    for reference in dict.fromkeys((wanted, schema.model)):
        try:
            if reference == wanted:
                model = load(settings, schema.model, patience=SEARCHING_PATIENCE)
            else:
                model = load_reference(reference, settings, patience=SEARCHING_PATIENCE)
        except LusiferError as error:
            reasons.append(error.message)
            continue
        if collection_schema(model) == schema:
            if reference != wanted:
                log.warning("the index is searched with %s, which made it", reference or SHIPPED)
            return model
        reasons.append(f"{reference or SHIPPED} is another model or version by now")
    raise FingerprintMismatch(
        f"The index was made with {schema.model or SHIPPED}, which cannot be had here: {'; '.join(reasons)}",
        hint="Run `lusifer index` to make it anew with the model that is set; this server will follow.",
    )


class _Place(TypedDict):
    """Where the functions of ``store`` find a collection."""

    url: str | None
    api_key: str | None
    collection: str


def _place(settings: Settings) -> _Place:
    key = settings.qdrant_api_key
    return _Place(
        url=settings.qdrant_url,
        api_key=None if key is None else key.get_secret_value(),
        collection=settings.collection,
    )


def find_schema(settings: Settings) -> Schema | None:
    """Read what made the index that is searched now; None if there is none.

    Raises:
        StoreError: it cannot be read.
    """
    from store import current_schema

    return current_schema(settings.data, **_place(settings))


def open_index(settings: Settings, model: Embedding) -> Store:
    """Open the store that was filled with this model.

    Raises:
        StoreError: there is none, another model filled it, or it cannot be reached.
    """
    from indexer.schema import collection_schema
    from store import open_store

    return open_store(settings.data, collection_schema(model), **_place(settings))


@dataclass(frozen=True, slots=True)
class IndexDoors:
    """How to get at the index.

    Attributes:
        open_store: opens the store that was filled with a model.
        find_schema: reads what made the index that is searched now.
        load_for: loads the model that made it.
    """

    open_store: StoreOpener = open_index
    find_schema: Callable[[Settings], Schema | None] = find_schema
    load_for: Callable[[Settings, Schema], Embedding] = load_for
