"""Settings read from options and the environment, with one wording for what cannot be used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from common.errors import HintedError

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

S = TypeVar("S", bound="BaseSettings")

PREFIX = "LUSIFER_"


class SettingsError(HintedError):
    """A setting that cannot be used; the command line ends with exit code 2."""


def load_settings(kind: type[S], **given: object) -> S:
    """Return settings: options that were given (not None), then the environment, then defaults.

    Raises:
        SettingsError: a value cannot be used; names the variable, never shows a secret.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError as Unreadable

    try:
        return kind(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"]))
        raise SettingsError(
            f"The setting {name} cannot be used: {first['msg'].removeprefix('Value error, ')}",
            hint=f"Correct {PREFIX}{name.upper()}.",
        ) from None
    except Unreadable as error:
        found = re.search(r'field "(\w+)"', str(error))
        if found is None:
            raise SettingsError(f"The environment cannot be read: {error}") from None
        raise SettingsError(
            f"The setting {found[1]} cannot be used: it is not JSON",
            hint=f'Correct {PREFIX}{found[1].upper()}: a list is written as ["one", "two"].',
        ) from None
