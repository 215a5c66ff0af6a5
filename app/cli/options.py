"""Options that several commands share, and settings made from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.settings import Settings

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder of the index.", show_default="LUSIFER_DATA", file_okay=False),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model name or folder.", show_default="LUSIFER_MODEL, or the shipped one"),
]


def make_settings(**given: object) -> Settings:
    """Settings from the environment, with the options that were given on top.

    Raises:
        ConfigurationError: a value cannot be used; names the variable, never shows a secret.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from app.problems import ConfigurationError
    from app.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigurationError(
            f"The setting {name} cannot be used: {first['msg']}", hint=f"Correct LUSIFER_{name.upper()}."
        ) from None
    except SettingsError as error:
        raise ConfigurationError(
            f"The environment cannot be read: {error}", hint='A list is written as JSON: ["one", "two"].'
        ) from None
