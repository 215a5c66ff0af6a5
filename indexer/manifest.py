"""What a collection holds: one SQLite file beside it, every change one transaction.

A document is written down as pending before its chunks go to the store and as indexed after they are durable
there: after an interruption the next run knows what to do again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from indexer.errors import IndexerError, ManifestDamaged

State = Literal["indexed", "pending", "skipped", "failed"]

FILE = "manifest.sqlite"
#: SQLite opens no file with a longer path, the names of those beside it included.
_LONGEST_PATH = 500
_FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")
_VERSION = 2
_SCHEMA = """
CREATE TABLE documents (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    checked_ns INTEGER NOT NULL, version TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('indexed', 'pending', 'skipped', 'failed')),
    reason TEXT NOT NULL, retry INTEGER NOT NULL, language TEXT NOT NULL,
    title TEXT NOT NULL, chunks INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX documents_by_path ON documents (path);
CREATE TABLE roots (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_CREATE = f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one document.

    Attributes:
        id: 32 hexadecimal digits, made of the path.
        path: absolute, as shown.
        size: in bytes, when it was read last.
        mtime_ns: its time of change then.
        checked_ns: when that was.
        version: hash of its content then; empty if it was never read.
        state: ``pending`` means its chunks in the store may be missing, old or both.
        reason: why it was skipped or failed.
        retry: whether a failure may pass without the file changing.
        language: ISO 639-1 code.
        title: the document's.
        chunks: how many it has in the store.
    """

    id: str
    path: str
    size: int = 0
    mtime_ns: int = 0
    checked_ns: int = 0
    version: str = ""
    state: State = "pending"
    reason: str = ""
    retry: bool = False
    language: str = ""
    title: str = ""
    chunks: int = 0

    @property
    def may_have_chunks(self) -> bool:
        """Whether the store may hold chunks of the document."""
        return self.state in ("indexed", "pending")


_COLUMNS = ", ".join(field.name for field in fields(Record))
_SAVE = f"INSERT OR REPLACE INTO documents ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(Record)))})"  # noqa: S608 - constants
_SELECT = f"SELECT {_COLUMNS} FROM documents"  # noqa: S608
_TYPES = (str, str, int, int, int, str, str, str, int, str, str, int)
#: Errors of SQLite that are not the file's content: of rights, locks, memory and the disk.
_PASSING = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def _damaged(path: Path, reason: str) -> ManifestDamaged:
    return ManifestDamaged(
        f"the manifest {path} is damaged: {reason}", hint="index again: lusifer index --rebuild PATH"
    )


def former_roots(data: Path) -> list[str]:
    """Return the paths in the manifest that a former version kept in a data folder; none if unreadable."""
    path = data / FILE
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return [str(row[0]) for row in connection.execute("SELECT path FROM roots ORDER BY path")]
    except (sqlite3.Error, UnicodeDecodeError):
        return []


class Manifest:
    """An open manifest; use as a context manager. Threads may take turns with it.

    Raises:
        ManifestDamaged: from any method, when the file cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def open(cls, folder: Path) -> Manifest:
        """Open a folder's manifest, or make an empty one.

        Raises:
            ManifestDamaged: it is not readable, or was written by another version.
            IndexerError: the folder cannot be written.
        """
        path = folder / FILE
        try:
            if cls.exists(folder) and path.stat().st_size == 0:
                raise _damaged(path, "it is empty")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        except (OSError, sqlite3.OperationalError) as error:
            excess = len(os.fsencode(path)) - _LONGEST_PATH
            if excess > 0:
                raise IndexerError(
                    f"the path of the folder {folder} is too long, by {excess} bytes",
                    hint="choose a shorter one with --data",
                ) from error
            raise IndexerError(
                f"the folder {folder} cannot be written: {error}", hint="choose another with --data"
            ) from error
        manifest = cls(connection, path)
        try:
            manifest._prepare()
        except BaseException:
            connection.close()
            raise
        return manifest

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Tell whether a folder has a manifest."""
        return (folder / FILE).is_file()

    @classmethod
    def delete(cls, folder: Path) -> None:
        """Remove the manifest's files."""
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)

    @classmethod
    def keep_aside(cls, folder: Path) -> None:
        """Move the manifest's files to ``<folder>.manifest.sqlite.damaged-<time>``, kept for good."""
        moment = time.strftime("%Y%m%d-%H%M%S")
        for name in _FILES:
            with suppress(FileNotFoundError):
                (folder / name).rename(folder.with_name(f"{folder.name}.{name}.damaged-{moment}"))

    def _prepare(self) -> None:
        with self._guarded():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._connection.executescript(_CREATE)
            elif version != _VERSION:
                raise ManifestDamaged(
                    f"the manifest {self._path} is of version {version}, this program reads {_VERSION}",
                    hint="use the program that made it, or index again: lusifer index --rebuild PATH",
                )
            self._connection.execute(f"{_SELECT} LIMIT 1").fetchone()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                raise _damaged(self._path, str(error)) from error
            raise IndexerError(
                f"the manifest {self._path} cannot be used: {error}",
                hint="see that its disk has space and that the folder may be written",
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def under(self, root: str | None = None) -> list[Record]:
        """Return the documents at or below a shown path, or all of them, in order of path."""
        query = _SELECT
        values: list[str] = []
        if root is not None:
            folder = root.rstrip("/")
            query += " WHERE path = ? OR (path >= ? AND path < ?)"
            values = [root, f"{folder}/", f"{folder}0"]  # "0" is the character after "/"
        with self._guarded() as connection:
            rows = connection.execute(f"{query} ORDER BY path, id", values).fetchall()
        if any(tuple(map(type, row)) != _TYPES or row[6] not in get_args(State) for row in rows):
            raise _damaged(self._path, "it holds what is no document")
        return [replace(Record(*row), retry=bool(row[8])) for row in rows]

    def save(self, records: Iterable[Record]) -> None:
        """Add or replace documents."""
        rows = [astuple(record) for record in records]
        if rows:
            with self._transaction() as connection:
                connection.executemany(_SAVE, rows)

    def forget(self, identifiers: Iterable[str]) -> None:
        """Remove documents by id."""
        rows = [(identifier,) for identifier in identifiers]
        if rows:
            with self._transaction() as connection:
                connection.executemany("DELETE FROM documents WHERE id = ?", rows)

    def doubt(self, identifiers: Iterable[str] | None = None) -> None:
        """Make indexed documents pending: those with the ids, or all of them."""
        query = "UPDATE documents SET state = 'pending' WHERE state = 'indexed'"
        with self._transaction() as connection:
            if identifiers is None:
                connection.execute(query)
            else:
                connection.executemany(f"{query} AND id = ?", [(identifier,) for identifier in identifiers])

    def roots(self) -> list[str]:
        """Return the paths that were named to the indexer."""
        with self._guarded() as connection:
            return [str(row[0]) for row in connection.execute("SELECT path FROM roots ORDER BY path")]

    def set_roots(self, roots: Iterable[str]) -> None:
        """Remember these paths only."""
        if sorted(set(roots)) != self.roots():
            with self._transaction() as connection:
                connection.execute("DELETE FROM roots")
                connection.executemany("INSERT INTO roots VALUES (?)", [(root,) for root in set(roots)])

    def add_roots(self, roots: Iterable[str]) -> None:
        """Remember paths that were named."""
        new = sorted(set(roots) - set(self.roots()))
        if new:
            with self._transaction() as connection:
                connection.executemany("INSERT INTO roots VALUES (?)", [(root,) for root in new])

    def forget_root(self, root: str) -> None:
        """Forget a path that was named."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM roots WHERE path = ?", (root,))

    def facts(self) -> dict[str, str]:
        """Return what the index was made with."""
        with self._guarded() as connection:
            return dict(connection.execute("SELECT name, value FROM facts").fetchall())

    def set_facts(self, **facts: str) -> None:
        """Write down what the index was made with."""
        if any(self.facts().get(name) != value for name, value in facts.items()):
            with self._transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())
