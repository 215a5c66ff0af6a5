"""The embedded store as everybody but its daemon sees it, and how the daemon is found or started.

Texts are analysed here, so that the daemon stays free to answer. Every operation may be done twice without
harm, so when the daemon dies the same request goes to its successor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Concatenate, ParamSpec, TypeVar

from common.files import FileLock, LockHeld
from store.collection import BATCH, Collection
from store.daemon.protocol import (
    CONNECTION_ERRORS,
    PROTOCOL,
    DaemonFiles,
    Request,
    connect,
    receive,
    send,
    set_limit,
)
from store.edge.folder import (
    current_manifest,
    current_name,
    has_collections,
    has_leftovers,
    nothing_there,
    read_collections,
    read_current,
)
from store.errors import InvalidRequest, StoreBusy, StoreError, StoreUnavailable
from store.location import BUILDING
from store.points import prepare
from store.types import Chunk, CollectionInfo, Schema, Vector

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: How long a daemon may take to come up; opening a large store happens later, when it is asked for.
START_SECONDS = 60.0
_NOBODY = (*CONNECTION_ERRORS, UnpicklingError, ValueError, KeyError, TypeError, RecursionError)
SERVER = ["-m", "store.daemon.server"]


def reach(data: Path) -> tuple[Connection, int]:
    """Connect to the daemon, starting it if there is none.

    Returns:
        the connection, and the daemon's process id.

    Raises:
        StoreUnavailable: it cannot be started; the message holds the reason it gave.
    """
    files = DaemonFiles(data)
    found = _greet(files)
    if found is not None:
        return found
    starting = FileLock(files.starting)
    try:
        starting.acquire(seconds=START_SECONDS)
    except LockHeld as error:
        raise StoreBusy(
            f"Another program has been starting the daemon of {data} for a long time", hint=error.hint
        ) from error
    except OSError as error:
        raise StoreUnavailable(
            f"The data folder {data} cannot be written to ({error.strerror})",
            hint="Give this user the right to write there, or choose another folder.",
        ) from error
    try:
        return _greet(files) or _start(files)
    finally:
        starting.release()


def _greet(files: DaemonFiles) -> tuple[Connection, int] | None:
    """Connect to a running daemon; None if there is none. One of another version is asked to make way."""
    try:
        connection = connect(files)
        protocol, pid = receive(connection)
        if protocol == PROTOCOL:
            set_limit(connection, ANSWER_SECONDS)
            return connection, int(pid)
        with connection:
            send(connection, Request("retire", None, (), {}))
            answer = receive(connection)
    except BlockingIOError as error:
        holder = FileLock(files.lock).holder or "unknown"
        raise StoreUnavailable(
            f"The store's daemon for {files.data}, process {holder}, does not answer",
            hint="It may be stopped or have too much to do: let it go on, or end it.",
        ) from error
    except _NOBODY:
        return None
    if isinstance(answer, StoreError):
        raise answer
    return None


def _start(files: DaemonFiles) -> tuple[Connection, int]:
    status = _spawn(files)
    found = _greet(files) if status == "ready" else None
    if found is None:
        if status == "ready":
            status = "it came up, and could not be reached or ended at once"
        reason = status.removeprefix("error ") or _last_words(files.log)
        raise StoreUnavailable(
            f"The store's daemon for {files.data} could not start: {reason.rstrip('.')}",
            hint=f"Its log is {files.log}.",
        )
    return found


def _spawn(files: DaemonFiles) -> str:
    """Start a daemon that outlives us and is nobody's child; return the line it reports, empty if it died."""
    # The shell's job is to end at once, so that the daemon is adopted by init and leaves no zombie.
    command = ["/bin/sh", "-c", '"$0" "$@" &', sys.executable, "-P", *SERVER, *_idle_seconds()]
    try:
        with files.log.open("ab") as log:
            os.chmod(log.fileno(), 0o600)  # noqa: PTH101 - the open file, not whatever has its name
            done = subprocess.run(
                [*command, "--data", str(files.data)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                timeout=START_SECONDS,
            )
    except subprocess.TimeoutExpired:
        return "it does not say that it is ready"
    except (OSError, subprocess.CalledProcessError) as error:
        raise StoreUnavailable(
            f"The store's daemon for {files.data} could not be started ({error})",
            hint="Check that the data folder can be written to.",
        ) from error
    return done.stdout.decode(errors="replace").strip()


def _idle_seconds() -> list[str]:
    seconds = os.environ.get("LUSIFER_DAEMON_IDLE_SECONDS")
    if not seconds:
        return []
    try:
        is_possible = 0 <= float(seconds) < float("inf")
    except ValueError:
        is_possible = False
    if not is_possible:
        raise InvalidRequest(
            f"LUSIFER_DAEMON_IDLE_SECONDS is {seconds!r}, which is no number of seconds",
            hint="Set LUSIFER_DAEMON_IDLE_SECONDS to a number that is not negative, such as 60.",
        )
    return ["--idle-seconds", seconds]


def _environment() -> dict[str, str]:
    """Let the daemon import the package we run, from wherever we have it."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, path] if path else [root])}


def _last_words(log: Path) -> str:
    """Give the last line a dying daemon wrote: an exception's line says what it was."""
    try:
        lines = log.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return "it left no reason"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it left no reason")[:500]


#: How often a request is sent while daemons die under it.
ATTEMPTS = 5
#: How long an answer may take: opening a large store after a crash replays its log.
ANSWER_SECONDS = 600.0
_RETRY_PAUSE = 0.05


class DaemonClient:
    """Sends requests to the daemon of a data folder, through as many connections as threads need."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        #: Process id of the daemon last connected to.
        self.pid = 0

    def call(self, operation: str, collection: CollectionInfo | None, *arguments: Any, **named: Any) -> Any:
        """Have an operation done, by the daemon's successor if it dies over it."""
        request = Request(operation, collection, arguments, named)
        for attempt in range(ATTEMPTS):
            connection = self._take()
            try:
                send(connection, request)
                if not connection.poll(ANSWER_SECONDS):
                    raise TimeoutError
                answer = receive(connection)
            except CONNECTION_ERRORS:
                connection.close()
                self._forget()
                time.sleep(_RETRY_PAUSE * attempt)
                continue
            except BaseException:
                # An answer may still come; nobody must take it for that to another request.
                connection.close()
                raise
            self._give(connection)
            if isinstance(answer, StoreError):
                raise answer
            return answer[0]
        raise StoreUnavailable(
            f"The daemon of the store at {self.data} died {ATTEMPTS} times over one request",
            hint=f"Its log, {DaemonFiles(self.data).log}, may say why.",
        )

    def close(self) -> None:
        """Say goodbye to the daemon; it flushes when it is quiet and ends when nobody needs it."""
        with self._lock:
            self._closed = True
        self._forget()

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreError("The store is closed", hint="Open it again.")
            if self._process != os.getpid():
                # After a fork the connections are our parent's.
                self._process, self._idle = os.getpid(), []
            if self._idle:
                return self._idle.pop()
        connection, self.pid = reach(self.data)
        return connection

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _forget(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


#: What the daemon does for its clients: to a collection, and to the index of a data folder.
COLLECTION_OPERATIONS: set[str] = set()
INDEX_OPERATIONS = frozenset(("open", "build", "switch", "sweep", "delete"))


def _remote(
    method: Callable[Concatenate[Collection, _P], _R],
) -> Callable[Concatenate[RemoteStore, _P], _R]:
    """Have the daemon do an operation of ``Collection``; naming it here is what allows it."""
    COLLECTION_OPERATIONS.add(method.__name__)

    @wraps(method)
    def call(store: RemoteStore, /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        result: _R = store.daemon.call(method.__name__, store.info, *arguments, **named)
        return result

    return call


class RemoteStore:
    """A collection of an embedded store, through its daemon. Safe for threads."""

    def __init__(self, data: Path, info: CollectionInfo) -> None:
        self.info = info
        self.daemon = DaemonClient(data)

    @property
    def schema(self) -> Schema:
        return self.info.schema

    delete_document = _remote(Collection.delete_document)
    search = _remote(Collection.search)
    facet = _remote(Collection.facet)
    count = _remote(Collection.count)
    scroll = _remote(Collection.scroll)
    versions = _remote(Collection.versions)
    flush = _remote(Collection.flush)
    upsert_points = _remote(Collection.upsert_points)
    export_page = _remote(Collection.export_page)

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        if len(chunks) != len(vectors):
            prepare(chunks, vectors, self.schema)  # says what is wrong, before anything is written
        # The next batch is analysed while the daemon stores the last.
        with ThreadPoolExecutor(1) as sender:
            sent: Future[None] | None = None
            for start in range(0, len(chunks), BATCH):
                part = slice(start, start + BATCH)
                points = prepare(chunks[part], vectors[part], self.schema)
                if sent is not None:
                    sent.result()
                sent = sender.submit(self.upsert_points, points)
            if sent is not None:
                sent.result()

    def export(self, *, batch: int = 1000) -> Iterator[tuple[list[Chunk], Vector]]:
        start: str | None = None
        while True:
            chunks, vectors, start = self.export_page(start, batch)
            if chunks:
                yield chunks, vectors
            if start is None:
                return

    def close(self) -> None:
        self.daemon.close()


class LocalIndex:
    """The collections of a data folder, an ``IndexLocation``: read here, opened and changed by the daemon."""

    def __init__(self, data: Path) -> None:
        self._data = data.expanduser().resolve()

    @property
    def owner(self) -> str:
        return ""

    def current(self) -> CollectionInfo | None:
        return read_current(self._data)

    def remembered(self) -> CollectionInfo | None:
        return self.current()

    def current_manifest(self) -> Path | None:
        return current_manifest(self._data)

    def open(self, info: CollectionInfo | None = None) -> RemoteStore:
        wanted = info or self.current()
        if wanted is None:
            raise nothing_there(self._data)
        opened = RemoteStore(self._data, wanted)
        try:
            opened.daemon.call("open", None, wanted)
        except BaseException:
            opened.close()
            raise
        return opened

    def build(self, schema: Schema, *, fresh: bool = False) -> CollectionInfo:
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreUnavailable(
                f"The data folder {self._data} cannot be made ({error.strerror})", hint="Choose another."
            ) from error
        built: CollectionInfo = self._call("build", schema, fresh=fresh)
        return built

    def switch(self, info: CollectionInfo) -> None:
        self._call("switch", info)

    def sweep(self) -> None:
        # No daemon is started for nothing.
        if has_leftovers(self._data):
            self._call("sweep")

    def delete(self) -> None:
        if has_collections(self._data) or has_leftovers(self._data):
            self._call("delete")

    def unfinished(self) -> list[CollectionInfo]:
        others = [info for info in read_collections(self._data) if info.name != current_name(self._data)]
        return [info for info in others if (self.manifest_folder(info) / BUILDING).exists()]

    def manifest_folder(self, info: CollectionInfo) -> Path:
        return self._data / info.name

    def _call(self, operation: str, *arguments: Any, **named: Any) -> Any:
        daemon = DaemonClient(self._data)
        try:
            return daemon.call(operation, None, *arguments, **named)
        finally:
            daemon.close()
