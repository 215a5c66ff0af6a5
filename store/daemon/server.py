"""The daemon of an embedded store: the only process that opens the engine, and serves all others.

``python -m store.daemon.server --data DIR``, started by a client when somebody needs the store. It ends when
nobody has been connected for a while; killed, it is started again by its clients and nothing acknowledged is
lost. Its log holds no text of documents or queries.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from logging.handlers import RotatingFileHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from common.errors import HintedError
from common.files import FileLock
from store.daemon.client import COLLECTION_OPERATIONS, INDEX_OPERATIONS
from store.daemon.protocol import (
    CONNECTION_ERRORS,
    PROTOCOL,
    DaemonFiles,
    Request,
    introduce,
    is_private,
    listen,
    receive,
    remove_socket_folder,
    send,
)
from store.edge.index import EdgeIndex
from store.errors import DiskFull, InvalidRequest, StoreBusy, StoreDamaged, StoreError, StoreUnavailable

_T = TypeVar("_T")

#: Operations that may overtake others, because they are short and somebody is waiting.
URGENT = frozenset(("open", "search", "facet", "count", "scroll"))
_WRITES = frozenset(("upsert_points", "delete_document"))
#: Urgent operations done in a row before one that can wait gets its turn.
PATIENCE = 8

IDLE_SECONDS = 60.0
#: How long to wait for a predecessor that is closing.
PREDECESSOR_SECONDS = 15.0
#: Writes are flushed when there were no more of them for so long.
FLUSH_SECONDS = 3.0
_TICK = 0.25
_LOG_BYTES = 1_000_000
_logger = logging.getLogger("store.daemon.server")


class Worker:
    """Runs jobs in its own thread, one at a time. Urgent ones overtake others, but do not starve them.

    A job's place is a time of its own: the later of that of the job which runs now and that of the last one
    of its kind, plus 1 for an urgent job and ``PATIENCE`` for another.
    """

    def __init__(self) -> None:
        self._jobs: queue.PriorityQueue[tuple[float, bool, int, Callable[[], None] | None]]
        self._jobs = queue.PriorityQueue()
        self._numbers = count()
        self._now = 0.0
        self._last = {True: 0.0, False: 0.0}
        self._changing = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._jobs.qsize()

    def run(self, job: Callable[[], _T], *, urgent: bool = False) -> _T:
        """Have a job done and wait for its result, or for what it raises."""
        future: Future[_T] = Future()

        def do() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # whatever it is, it belongs to the caller
                future.set_exception(error)

        with self._changing:
            if self._stopping:
                raise RuntimeError("the worker has stopped")
            place = max(self._now, self._last[urgent]) + (1 if urgent else PATIENCE)
            self._last[urgent] = place
            self._jobs.put((place, not urgent, next(self._numbers), do))
        return future.result()

    def stop(self) -> None:
        """Do what is waiting, then end."""
        with self._changing:
            self._stopping = True
            self._jobs.put((float("inf"), True, next(self._numbers), None))
        self._thread.join()

    def _work(self) -> None:
        while True:
            self._now, _, _, job = self._jobs.get()
            if job is None:
                return
            job()


class Daemon:
    """Serves one data folder until nobody needs it.

    Args:
        files: where its things are; the caller holds the lock and keeps it until after ``serve``.
        index: the collections.
        idle_seconds: how long to stay without clients.
    """

    def __init__(self, files: DaemonFiles, index: EdgeIndex, idle_seconds: float) -> None:
        self._files = files
        self._index = index
        self._idle_seconds = idle_seconds
        self._worker = Worker()
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._clients = 0
        self._last_seen = time.monotonic()
        self._last_write: float | None = None
        self._lock_file = files.lock.stat().st_ino
        self._listen()

    def _listen(self) -> None:
        self._listener, self._address, key = listen(self._files)
        self._found_at = self._traces()
        threading.Thread(target=self._accept, args=(self._listener, key), daemon=True).start()

    def _traces(self) -> list[tuple[int, ...]]:
        """Tell apart the socket and the file that names it from any that others put in their place."""
        socket, file = self._address.stat(), self._files.address.stat()
        return [(socket.st_ino,), (file.st_ino, file.st_mtime_ns, file.st_size)]

    def serve(self) -> None:
        """Serve until idle, told to stop, or robbed of the data folder; leave everything flushed."""
        try:
            while not self._is_idle() and self._owns_folder():
                self._listen_again_if_lost()
                self._flush_if_quiet()
                if self._stopping.wait(_TICK):
                    break
        finally:
            # In this order: whoever comes now finds nobody, and waits for the lock.
            self._close_listener()
            self._worker.stop()

    def stop(self) -> None:
        """Make ``serve`` return soon."""
        self._stopping.set()

    def _is_idle(self) -> bool:
        with self._changing:
            return not self._clients and time.monotonic() - self._last_seen > self._idle_seconds

    def _owns_folder(self) -> bool:
        """Whether the lock file is still the one we hold: the data folder may have been removed."""
        try:
            return self._files.lock.stat().st_ino == self._lock_file
        except OSError:
            return False

    def _listen_again_if_lost(self) -> None:
        """Listen again if somebody tidied our socket or address away, replaced it, or let others reach it."""
        try:
            lost = self._traces() != self._found_at or not is_private(self._address.parent)
        except OSError:
            lost = True
        if lost:
            _logger.warning("the socket or its address is gone; listening again")
            self._close_listener()
            try:
                self._listen()
            except (OSError, StoreError) as error:
                _logger.error("cannot listen again: %s", error)
                self.stop()  # nobody can find us; who comes next is told why

    def _close_listener(self) -> None:
        with suppress(OSError):  # it removes its socket, which may be gone
            self._listener.close()
        remove_socket_folder(self._address)

    def _flush_if_quiet(self) -> None:
        quiet_since = self._last_write
        if quiet_since is not None and time.monotonic() - quiet_since > FLUSH_SECONDS:
            self._last_write = None
            try:
                self._worker.run(self._index.flush)
            except StoreError as error:
                self._give_up(error)

    def _accept(self, listener: Any, key: bytes) -> None:
        """Wait for clients and give each a thread of its own."""
        while listener is self._listener and not self._stopping.is_set():
            try:
                connection = listener.accept()
            except CONNECTION_ERRORS as error:
                if listener is self._listener and not self._stopping.is_set():
                    _logger.warning("refused a client: %s", type(error).__name__)
                time.sleep(_TICK if isinstance(error, OSError) else 0)
                continue
            threading.Thread(target=self._serve_client, args=(connection, key), daemon=True).start()

    def _serve_client(self, connection: Connection, key: bytes) -> None:
        """Serve one client, if it is one of ours, until it leaves or dies."""
        try:
            introduce(connection, key)
        except CONNECTION_ERRORS as error:
            connection.close()
            _logger.warning("refused a client: %s", type(error).__name__)
            return
        with self._changing:
            self._clients += 1
        try:
            with connection:
                send(connection, (PROTOCOL, os.getpid()))
                while self._answer(connection, receive(connection)):
                    pass
        except CONNECTION_ERRORS:
            pass  # it left, or it died in the middle of a message; either way it is gone
        except Exception as error:
            _logger.error("dropped a client that made no sense: %s", type(error).__name__)
        finally:
            with self._changing:
                self._clients -= 1
                self._last_seen = time.monotonic()

    def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; False when the connection is over."""
        if request.operation == "retire":
            send(connection, self._retire())
            return False
        send(connection, self._outcome(request))
        return True

    def _outcome(self, request: Request) -> StoreError | tuple[Any]:
        """Do what is asked for; return its result, or why there is none."""
        try:
            return (self._perform(request),)
        except StoreError as error:
            if isinstance(error, StoreDamaged):
                self._give_up(error)
            return error
        except OSError as error:
            return self._refused(request.operation, error)
        except Exception as error:
            # A fault of ours; asking again would not help. Its message could hold text, its trace does not.
            trace = "".join(traceback.format_tb(error.__traceback__))
            _logger.error("%s failed: %s\n%s", request.operation, type(error).__name__, trace)
            return StoreError(f"The store failed at {request.operation} ({type(error).__name__})")

    def _refused(self, operation: str, error: OSError) -> StoreError:
        """Say what the system refused to do with the files."""
        reason = f"{error.strerror or type(error).__name__}: {error.filename or self._files.data}"
        _logger.error("%s failed: %s", operation, reason)
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
        return kind(
            f"The store at {self._files.data} failed at {operation} ({reason})",
            hint="Correct that, then try again.",
        )

    def _perform(self, request: Request) -> Any:
        allowed = INDEX_OPERATIONS if request.collection is None else COLLECTION_OPERATIONS
        if request.operation not in allowed:
            raise InvalidRequest(f"The store has no operation {request.operation!r}")
        result = self._worker.run(lambda: self._do(request), urgent=request.operation in URGENT)
        if request.operation in _WRITES:
            self._last_write = time.monotonic()
        return result

    def _do(self, request: Request) -> Any:
        on = self._index if request.collection is None else self._index.open(request.collection)
        result = getattr(on, request.operation)(*request.arguments, **request.named)
        return result.info if request.operation == "open" else result

    def _give_up(self, error: StoreError) -> None:
        """Drop an engine that failed: the next request opens the files again and is told how they are."""
        _logger.error("%s: %s", type(error).__name__, error.message)
        self._worker.run(self._index.discard)

    def _retire(self) -> StoreError | tuple[None]:
        """Make way for another version of the program, unless somebody else is being served."""
        with self._changing:
            others = self._clients - 1
        if others:
            return StoreBusy(
                "Another version of this program is using the store", hint="Stop it, then try again."
            )
        self.stop()
        return (None,)


def main(arguments: list[str] | None = None) -> int:
    """Serve the store of a data folder; 0 when done, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="store.daemon.server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--idle-seconds", default=str(IDLE_SECONDS), help="how long to stay without clients")
    options = parser.parse_args(arguments)
    files = DaemonFiles(options.data)
    os.umask(0o077)
    _log_to(files.log)
    try:
        idle_seconds = float(options.idle_seconds)
        lock = FileLock(files.lock)
        lock.acquire(seconds=PREDECESSOR_SECONDS)
        index = EdgeIndex(options.data, lock)
        daemon = Daemon(files, index, idle_seconds)
    except (HintedError, OSError, ValueError) as error:
        _logger.error("cannot start: %s", error)
        _report(f"error {error}")
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: daemon.stop())
    _logger.info("ready, pid %d, protocol %s", os.getpid(), PROTOCOL)
    _report("ready")
    try:
        daemon.serve()
        index.close()
    except StoreError as error:
        _logger.error("ended badly: %s", error.message)
        return 1
    _logger.info("ended")
    return 0


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _report(line: str) -> None:
    """Say on the standard output that we are ready, or why not; who started us reads until it is closed."""
    with suppress(OSError):  # they are gone; others may come
        os.write(1, f"{line}\n".encode())
    os.dup2(2, 1)


if __name__ == "__main__":
    sys.exit(main())
