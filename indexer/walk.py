"""Expand the paths a user names to the files to index, with what is left out and why.

Hidden files and folders are passed over in silence, as are those that a ``.lusiferignore`` file (the syntax
of ``.gitignore``) names. Links to files are followed; links to folders are not, so that a walk ends and
never leaves the folder that was named. Must not read documents nor know what was indexed before.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from indexer.errors import UsageError

# Names of documents: how a path is shown and how it becomes a document's id. Must not open anything.


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


IGNORE_FILE = ".lusiferignore"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to index.

    Attributes:
        path: where it is.
        name: the path as shown and stored.
        size: in bytes.
        mtime_ns: time of last change.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file or folder left out, or a folder that cannot be read.

    Attributes:
        path: where it is.
        name: the path as shown.
        reason: why.
        unreadable: true if what lies there is unknown, so that its documents must not count as deleted.
    """

    path: Path
    name: str
    reason: str
    unreadable: bool = False


@dataclass(slots=True)
class Walk:
    """What was found under some paths, in order of path."""

    candidates: list[Candidate] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def resolve_roots(paths: Iterable[Path]) -> list[Path]:
    """Make the named paths absolute, without repetitions and without those inside another.

    Raises:
        UsageError: one of them does not exist.
    """
    roots: set[Path] = set()
    for path in paths:
        resolved = path.expanduser().resolve()
        if not resolved.exists():
            raise UsageError(
                f"there is no file or folder {show_path(resolved)}",
                hint=f"if it was indexed and is gone, remove its documents: lusifer remove {path}",
            )
        roots.add(resolved)
    return sorted(root for root in roots if not any(parent in roots for parent in root.parents))


def walk(
    roots: Iterable[Path], *, accepts: Callable[[Path], bool], max_bytes: int, exclude: Path | None = None
) -> Walk:
    """List the files under the roots.

    Args:
        roots: absolute files and folders, none inside another.
        accepts: whether files of that name can be read.
        max_bytes: larger files are left out.
        exclude: an absolute folder that is passed over in silence: the index itself.
    """
    found = Walk()
    for root in roots:
        entries = _walk_folder(root, found, str(exclude)) if root.is_dir() else iter([root])
        for path in entries:
            _judge(path, found, accepts, max_bytes)
    found.candidates.sort(key=lambda candidate: candidate.name)
    found.rejected.sort(key=lambda rejected: rejected.name)
    return found


def _judge(path: Path, found: Walk, accepts: Callable[[Path], bool], max_bytes: int) -> None:
    """File a path under candidates or rejected."""
    name = show_path(path)
    try:
        status = path.stat()
    except OSError as error:
        if path.is_symlink():
            found.rejected.append(Rejected(path, name, "a link that leads nowhere"))
        else:
            found.rejected.append(Rejected(path, name, _describe(error), unreadable=True))
        return
    reason = _reject(path, status, accepts, max_bytes)
    if reason:
        found.rejected.append(Rejected(path, name, reason))
    else:
        found.candidates.append(Candidate(path, name, status.st_size, status.st_mtime_ns))


def _reject(
    path: Path, status: os.stat_result, accepts: Callable[[Path], bool], max_bytes: int
) -> str | None:
    if stat.S_ISDIR(status.st_mode):
        return "a link to a folder is not followed; name the folder itself to index it"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not accepts(path):
        return f"unsupported type {path.suffix.lower()}" if path.suffix else "unsupported type (no extension)"
    if status.st_size == 0:
        return "empty"
    if status.st_size > max_bytes:
        size, limit = status.st_size / 1e6, max_bytes / 1e6
        return f"too large: {size:,.1f} MB, the limit is {limit:g} MB (LUSIFER_MAX_FILE_MEGABYTES)"
    return None


def _walk_folder(root: Path, found: Walk, exclude: str) -> Iterator[Path]:
    """Yield everything below a folder that is not hidden, ignored, or itself a folder."""
    pending: list[tuple[str, list[tuple[str, GitIgnoreSpec]]]] = [(str(root), [])]
    while pending:
        folder, specs = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            specs = _add_ignore_file(folder, specs, found)
        except OSError as error:
            path = Path(folder)
            found.rejected.append(Rejected(path, show_path(path), _describe(error), unreadable=True))
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if (
                entry.name.startswith(".")
                or entry.path == exclude
                or _is_ignored(entry.path, is_folder, specs)
            ):
                continue
            if is_folder:
                pending.append((entry.path, specs))
            else:
                yield Path(entry.path)


def _add_ignore_file(
    folder: str, specs: list[tuple[str, GitIgnoreSpec]], found: Walk
) -> list[tuple[str, GitIgnoreSpec]]:
    path = Path(folder, IGNORE_FILE)
    if not path.is_file():
        return specs
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [*specs, (folder, GitIgnoreSpec.from_lines(lines))]
    except ValueError as error:
        found.rejected.append(Rejected(path, show_path(path), f"not a list of patterns in UTF-8: {error}"))
        return specs


def _is_ignored(path: str, is_folder: bool, specs: list[tuple[str, GitIgnoreSpec]]) -> bool:
    return any(
        spec.match_file(os.path.relpath(path, folder) + ("/" if is_folder else "")) for folder, spec in specs
    )


def _describe(error: OSError) -> str:
    return f"cannot be read: {(error.strerror or str(error)).lower()}"
