"""Names of documents: how a path is shown and how it becomes a document's id. Must not open anything."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path


def show_path(path: Path) -> str:
    """Return an absolute path as it is stored and shown: ``/`` as separator, NFC, always valid Unicode."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace") if os.name == "posix" else path.as_posix()
    return unicodedata.normalize("NFC", text)


def identify(path: Path) -> str:
    """Return a document's id, 32 hexadecimal digits made of its path alone."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


def is_within(path: str, folder: str) -> bool:
    """Tell whether a shown path is the folder (or file) itself or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
