"""Put a run together from settings: which model, which store, which paths. Must not do any indexing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ValidationError

from indexer.errors import UsageError
from indexer.model import load_model, model_reference, stamp_model
from indexer.report import Problem
from indexer.session import Backends
from indexer.settings import Settings
from store import delete_store, open_store, stage_store, sweep_store, switch_store


def load_settings(
    *, data: Path | None = None, model: str | None = None, device: str | None = None
) -> Settings:
    """Return the settings: flags that were given, then the environment, then defaults.

    Raises:
        UsageError: a value makes no sense.
    """
    flags: dict[str, Any] = {"data": data, "model": model, "device": device}
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"]))
        raise UsageError(
            f"the setting {name} is not valid: {first['msg']}", hint=f"see LUSIFER_{name.upper()}"
        ) from error
    return settings.model_copy(update={"data": settings.data.expanduser().resolve()})


def make_backends(settings: Settings, made_with: str = "") -> Backends:
    """Return how to load the model and to open the stores that the settings name.

    Args:
        settings: of this run.
        made_with: the model of the index there is; used where the settings name none.
    """
    secret = settings.qdrant_api_key
    place = _Place(
        url=settings.qdrant_url,
        api_key=secret.get_secret_value() if secret is not None else None,
        collection=settings.collection,
    )
    return Backends(
        load_embedder=lambda: load_model(settings, made_with),
        open_store=lambda schema: open_store(settings.data, schema, create=schema is not None, **place),
        drop_store=lambda: delete_store(settings.data, **place),
        stage_store=lambda schema: stage_store(settings.data, schema, **place),
        switch_store=lambda schema: switch_store(settings.data, schema, **place),
        sweep_store=lambda: sweep_store(settings.data, **place),
        stamp_model=lambda: stamp_model(settings, made_with),
        model_name=model_reference(settings, made_with),
        grace=settings.switch_grace_seconds,
    )


class _Place(TypedDict):
    """Where the functions of ``store`` find a collection."""

    url: str | None
    api_key: str | None
    collection: str


def choose_paths(
    named: Iterable[Path], remembered: Iterable[str], *, everything: bool
) -> tuple[list[Path], list[Problem]]:
    """Return the paths to index, and those of earlier runs that are gone.

    Args:
        named: paths the user gave.
        remembered: paths given in earlier runs.
        everything: whether the remembered ones are wanted as well.

    Raises:
        UsageError: there are none.
    """
    chosen = list(named)
    missing = []
    for path in map(Path, remembered) if everything else ():
        if path.exists():
            chosen.append(path)
        else:
            missing.append(
                Problem(str(path), f"gone; its documents are kept, to remove them: lusifer remove {path}")
            )
    if not chosen:
        raise UsageError("there is nothing to index", hint="name files or folders: lusifer index PATH...")
    return chosen, missing
