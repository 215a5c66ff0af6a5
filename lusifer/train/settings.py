"""Settings of training runs, read from one TOML file each and checked field by field.

A run's settings are a frozen pydantic dataclass made with ``STRICT``. What is unknown, missing, of another
type or out of range becomes a ``ConfigError`` that names the file, the field and what it may be.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from lusifer.errors import ConfigError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True)
#: Seed of every recipe that names none.
SEED = 20250101

AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
#: 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]
#: 0 or more, and less than 1: what is dropped is never everything.
Dropout = Annotated[float, Field(ge=0, lt=1)]


def read_toml(path: Path, *, examples: Path) -> dict[str, Any]:
    """Return the content of a TOML file; ``examples`` is a folder of ready ones, for the message.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint=f"ready ones are in {examples}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="correct that line") from error


def make_settings(kind: type[T], values: Mapping[str, Any], source: Path | None = None) -> T:
    """Return settings made of a TOML file's values; ``source`` is the file, for messages.

    Raises:
        ConfigError: names the first field that cannot be used.
    """
    try:
        # As JSON, since in strict mode pydantic takes a mapping for a nested dataclass only from there.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problem = _explain(error, kind)
    except ConfigError as error:
        problem = error
    if source is None:
        raise problem
    raise ConfigError(f"{source}: {problem.message}", hint=problem.hint)


def _explain(error: ValidationError, kind: type) -> ConfigError:
    first = error.errors()[0]
    place: tuple[int | str, ...] = first["loc"]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if first["type"] == "missing":
        return ConfigError(f"field {name} is missing", hint="add it")
    if first["type"] == "unexpected_keyword_argument":
        known = _names(kind, place[:-1])
        near = get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(known)}"
        return ConfigError(f"unknown field {name}", hint=hint)
    return ConfigError(
        f"{name} is {first['input']!r}", hint=first["msg"].replace("Input should", "it should")
    )


def _names(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the dataclass at a place inside another."""
    for part in place:
        if isinstance(part, str):
            kind = get_type_hints(kind)[part]
        kind = next((inner for inner in get_args(kind) if is_dataclass(inner)), kind)
    return [item.name for item in fields(kind)]
