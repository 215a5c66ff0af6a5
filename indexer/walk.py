"""Expand the paths a user names to the files to index, with what is left out and why.

Hidden files and folders are passed over in silence, as are those that a ``.lusiferignore`` file (the syntax
of ``.gitignore``) names. Links to files are followed; links to folders are not, so that a walk ends and
never leaves the folder that was named. No document is opened.

A document's *path* is the absolute path as it is shown and stored, a string; *file* is where it lies.
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

IGNORE_FILE = ".lusiferignore"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to index.

    Attributes:
        file: where it is.
        id: the document's id.
        path: the document's path.
        size: in bytes.
        mtime_ns: time of last change.
    """

    file: Path
    id: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file or folder left out, or a folder that cannot be read.

    Attributes:
        id: the id its document would have.
        path: the path as shown.
        reason: why.
        unreadable: true if what lies there is unknown, so that its documents must not count as deleted.
    """

    id: str
    path: str
    reason: str
    unreadable: bool = False


@dataclass(slots=True)
class Walk:
    """What was found under some roots, in order of path.

    Attributes:
        files: those to index.
        rejected: what is left out.
        owner: id of the data folder that indexes them.
    """

    files: list[SourceFile] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    owner: str = ""

    def accept(self, file: Path, status: os.stat_result) -> None:
        """Note a file to index."""
        id, path = identify(file, self.owner), show_path(file)
        self.files.append(SourceFile(file, id, path, status.st_size, status.st_mtime_ns))

    def reject(self, file: Path, reason: str, *, unreadable: bool = False) -> None:
        """Note a file or folder that is left out."""
        id, path = identify(file, self.owner), show_path(file)
        self.rejected.append(Rejected(id, path, reason, unreadable))


def show_path(file: Path) -> str:
    """Return an absolute path as it is stored and shown: ``/`` as separator, NFC, always valid Unicode."""
    text = os.fsencode(file).decode("utf-8", "backslashreplace") if os.name == "posix" else file.as_posix()
    return unicodedata.normalize("NFC", text)


def identify(file: Path, owner: str = "") -> str:
    """Return a document's id, 32 hexadecimal digits made of its path and the owner of the data folder."""
    return hashlib.blake2b(os.fsencode(file), digest_size=16, key=owner.encode()).hexdigest()


def is_within(path: str, folder: str) -> bool:
    """Tell whether a shown path is the folder (or file) itself or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


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
    roots: Iterable[Path],
    *,
    accepts: Callable[[Path], bool],
    max_bytes: int,
    exclude: Path | None = None,
    owner: str = "",
) -> Walk:
    """List the files under the roots.

    Args:
        roots: absolute files and folders, none inside another.
        accepts: whether files of that name can be read.
        max_bytes: larger files are left out.
        exclude: an absolute folder that is passed over in silence: the index itself.
        owner: id of the data folder that indexes them, if it shares its collection with others.
    """
    found = Walk(owner=owner)
    for root in roots:
        for file in _walk_folder(root, found, str(exclude)) if root.is_dir() else [root]:
            _judge(file, found, accepts, max_bytes)
    found.files.sort(key=lambda file: file.path)
    found.rejected.sort(key=lambda rejected: rejected.path)
    return found


def _judge(file: Path, found: Walk, accepts: Callable[[Path], bool], max_bytes: int) -> None:
    """Put a file among those to index or those left out."""
    try:
        status = file.stat()
    except OSError as error:
        if file.is_symlink():
            found.reject(file, "a link that leads nowhere")
        else:
            found.reject(file, describe_refusal(error), unreadable=True)
        return
    reason = _find_reason(file, status, accepts, max_bytes)
    if reason:
        found.reject(file, reason)
    else:
        found.accept(file, status)


def _find_reason(
    file: Path, status: os.stat_result, accepts: Callable[[Path], bool], max_bytes: int
) -> str | None:
    if stat.S_ISDIR(status.st_mode):
        return "a link to a folder is not followed; name the folder itself to index it"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not accepts(file):
        return f"unsupported type {file.suffix.lower()}" if file.suffix else "unsupported type (no extension)"
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
            found.reject(Path(folder), describe_refusal(error), unreadable=True)
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
    file = Path(folder, IGNORE_FILE)
    if not file.is_file():
        return specs
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [*specs, (folder, GitIgnoreSpec.from_lines(lines))]
    except ValueError as error:
        found.reject(file, f"not a list of patterns in UTF-8: {error}")
        return specs


def _is_ignored(path: str, is_folder: bool, specs: list[tuple[str, GitIgnoreSpec]]) -> bool:
    return any(
        spec.match_file(os.path.relpath(path, folder) + ("/" if is_folder else "")) for folder, spec in specs
    )


def describe_refusal(error: OSError) -> str:
    """Say why the operating system does not let a file be read."""
    return f"cannot be read: {(error.strerror or str(error)).lower()}"
