"""Turn JSON objects into dataclasses, naming whatever field is unknown, missing or of the wrong type.

Knows types only. Must not know what the fields mean.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lusifer.errors import ConfigError

T = TypeVar("T")


def read_fields(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Build a dataclass from a JSON object.

    Args:
        cls: the dataclass; nested dataclasses, literals, unions with None, dicts and plain types are checked.
        data: the JSON object.
        where: dotted path of the object in the file, for messages.

    Raises:
        ConfigError: names the field with its path.
    """
    assert is_dataclass(cls)
    known = {item.name: item for item in fields(cls)}
    for name in data:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(known)}"
            raise ConfigError(f"unknown field {where}{name}", hint=hint)
    for name, item in known.items():
        if item.default is MISSING and item.default_factory is MISSING and name not in data:
            raise ConfigError(f"field {where}{name} is missing", hint="add it")
    hints = get_type_hints(cls)
    values = {name: _convert(value, hints[name], where + name) for name, value in data.items()}
    return cls(**values)


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Return the value as its type hint wants it, or refuse it."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (inner,) = (item for item in get_args(hint) if item is not type(None))
        return _convert(value, inner, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise _wrong(value, where, "one of " + ", ".join(map(str, get_args(hint))))
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise _wrong(value, where, "an object")
        return read_fields(hint, value, f"{where}.")
    expected: type = origin or hint
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise _wrong(value, where, f"of type {expected.__name__}")
    return value


def _wrong(value: Any, where: str, wanted: str) -> ConfigError:
    return ConfigError(f"field {where} is {value!r}", hint=f"it must be {wanted}")
