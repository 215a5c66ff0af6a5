"""How clients and the daemon of an embedded store find, trust and talk to each other.

The daemon listens on a Unix socket in a private folder of its user, and both sides prove that they know a
random key in a file only that user can read. What they say then is pickled, but only values of the store
itself are accepted: neither side can make the other run code.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import secrets
import socket
import stat
import struct
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import store.errors
import store.types
from common.files import write_atomically
from store.errors import StoreError, StoreUnavailable
from store.fusion import FusionParameters
from store.lexical import ANALYSER_VERSION
from store.points import Points
from store.types import CollectionInfo

#: Clients and daemon must agree on this; raise it when messages or stored points change.
PROTOCOL = f"3/{ANALYSER_VERSION}"
#: Longest address of a Unix socket that every system accepts, with room to spare.
_MAX_ADDRESS_BYTES = 100
#: Name of the private folder, with the id of the user.
SHARED_FOLDER = "lusifer-{}"
#: How long either side may take to introduce itself.
CONNECT_SECONDS = 20.0

#: What goes wrong when the other side is not there, not trusted, or dies.
CONNECTION_ERRORS = (OSError, EOFError, AuthenticationError)


@dataclass(frozen=True, slots=True)
class DaemonFiles:
    """Where the daemon of a data folder keeps its things."""

    data: Path

    @property
    def lock(self) -> Path:
        """Held by whoever has the engine open."""
        return self.data / "daemon.lock"

    @property
    def starting(self) -> Path:
        """Held by the client that starts a daemon."""
        return self.data / "daemon.starting"

    @property
    def address(self) -> Path:
        """Says where the daemon listens, and the key."""
        return self.data / "daemon.json"

    @property
    def log(self) -> Path:
        return self.data / "daemon.log"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants.

    Attributes:
        operation: name of an operation of a collection, or of an index.
        collection: which collection is meant; None for operations of the index.
        arguments: the operation's arguments.
        named: the operation's arguments by name.
    """

    operation: str
    collection: CollectionInfo | None
    arguments: tuple[Any, ...]
    named: dict[str, Any]


def _array(content: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype not in ("<f4", "<u4"):
        raise pickle.UnpicklingError(f"arrays of {dtype} are not exchanged")
    return np.frombuffer(content, dtype).reshape(shape)


def _error(kind: type[StoreError], message: str, hint: str) -> StoreError:
    if not issubclass(kind, StoreError):
        raise pickle.UnpicklingError(f"{kind} is no error")
    return kind(message, hint=hint)


class _Encoder(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        if isinstance(value, StoreError):
            return _error, (type(value), value.message, value.hint)
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value, "<u4" if value.dtype.kind == "u" else "<f4")
            return _array, (array.tobytes(), array.dtype.str, array.shape)
        return NotImplemented


_EXCHANGED: list[Any] = [*vars(store.types).values(), *vars(store.errors).values()]
_EXCHANGED += [FusionParameters, Points, Request, _array, _error]
_ALLOWED = {
    (kind.__module__, kind.__qualname__): kind
    for kind in _EXCHANGED
    if getattr(kind, "__module__", "").startswith("store.") and hasattr(kind, "__qualname__")
}


class _Decoder(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not exchanged") from None


def send(connection: Connection, value: object) -> None:
    """Send a value of the store's own kinds."""
    buffer = io.BytesIO()
    _Encoder(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    connection.send_bytes(buffer.getbuffer())


def receive(connection: Connection) -> Any:
    """Receive a value of the store's own kinds.

    Raises:
        UnpicklingError: it holds something else; none of it was made.
    """
    return _Decoder(io.BytesIO(connection.recv_bytes())).load()


def _socket_prefix(data: Path) -> str:
    return hashlib.blake2b(os.fsencode(data), digest_size=8).hexdigest() + "-"


def socket_path(data: Path) -> Path:
    """Choose where the daemon of a data folder listens: in a private folder of this user, made if need be.

    Where that cannot be, because somebody else put something there, it is in a new folder of its own.

    Raises:
        StoreUnavailable: no folder can be made.
    """
    name = f"{_socket_prefix(data)}{os.getpid()}.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parents = [Path(runtime)] if Path(runtime).is_absolute() else []
    parents += [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - a private folder in it, checked
    for parent in parents:
        folder = parent / SHARED_FOLDER.format(os.getuid())
        with suppress(OSError):
            if _fits(folder / name):
                folder.mkdir(mode=0o700, exist_ok=True)
                if is_private(folder) and os.access(folder, os.W_OK | os.X_OK):
                    return folder / name
    for parent in parents:
        with suppress(OSError):
            if _fits(parent / "lusifer-12345678" / name):
                return Path(tempfile.mkdtemp(prefix="lusifer-", dir=parent)) / name
    raise StoreUnavailable(
        f"There is no place for a socket: neither of {', '.join(map(str, parents))} can be written to",
        hint="Set XDG_RUNTIME_DIR to a folder of this user with a short path.",
    )


def _fits(address: Path) -> bool:
    return len(os.fsencode(address)) <= _MAX_ADDRESS_BYTES


def is_private(folder: Path) -> bool:
    """Whether a folder is one, and this user alone can reach what is in it."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return is_own and not stat.S_IMODE(status.st_mode) & 0o077


def remove_socket_folder(address: Path) -> None:
    """Remove the folder of a socket if it was made for that socket alone."""
    if address.parent.name != SHARED_FOLDER.format(os.getuid()):
        with suppress(OSError):
            address.parent.rmdir()


def listen(files: DaemonFiles) -> tuple[Listener, Path, bytes]:
    """Listen, and write down where, with a new key; the caller holds the lock, so nobody else does.

    Returns:
        what accepts clients, its address, and the key that ``introduce`` them with.
    """
    path = socket_path(files.data)
    for dead in path.parent.glob(f"{_socket_prefix(files.data)}*.sock"):
        dead.unlink(missing_ok=True)
    key = secrets.token_bytes(32)
    listener = Listener(str(path), "AF_UNIX", backlog=128)
    try:
        content = {"address": str(path), "key": key.hex(), "pid": os.getpid(), "protocol": PROTOCOL}
        write_atomically(files.address, json.dumps(content))
    except BaseException:
        listener.close()
        remove_socket_folder(path)
        raise
    return listener, path, key


def connect(files: DaemonFiles) -> Connection:
    """Connect to the daemon that has written down its address.

    Raises:
        AuthenticationError, OSError, EOFError, ValueError, KeyError, TypeError: there is none, or it has
            another key, or it is not where this user alone can reach it.
        BlockingIOError: it is there but does not answer in time.
    """
    content = json.loads(files.address.read_bytes())
    address, key = Path(content["address"]), bytes.fromhex(content["key"])
    if not is_private(address.parent):
        raise AuthenticationError(f"{address.parent} is not private")
    with socket.socket(socket.AF_UNIX) as connecting:
        _limit(connecting, CONNECT_SECONDS)
        connecting.connect(str(address))
        connection = Connection(connecting.detach())
    try:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
    except BaseException:
        connection.close()
        raise
    return connection


def introduce(connection: Connection, key: bytes) -> None:
    """Have a client prove that it knows the key, and prove it to the client, within a time limit.

    Raises:
        AuthenticationError, OSError, EOFError: it does not.
    """
    set_limit(connection, CONNECT_SECONDS)
    deliver_challenge(connection, key)
    answer_challenge(connection, key)
    set_limit(connection, 0)


def set_limit(connection: Connection, seconds: float) -> None:
    """Let what is sent and received fail with ``BlockingIOError`` when it waits so long; 0: never."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        _limit(same, seconds)


def _limit(on: socket.socket, seconds: float) -> None:
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        on.setsockopt(socket.SOL_SOCKET, option, limit)
