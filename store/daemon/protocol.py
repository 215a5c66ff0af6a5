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
import stat
import tempfile
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
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

    Raises:
        StoreUnavailable: the folder belongs to someone else, or is open to others.
    """
    name = f"{_socket_prefix(data)}{os.getpid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    for parent in (Path(runtime), Path("/tmp")):  # noqa: S108 - a private folder, checked below
        folder = parent / f"lusifer-{os.getuid()}"
        if parent.is_dir() and len(os.fsencode(folder / f"{name}.sock")) <= _MAX_ADDRESS_BYTES:
            break
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    is_private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if not is_private or stat.S_IMODE(status.st_mode) & 0o077:
        raise StoreUnavailable(
            f"{folder} is not a private folder of this user",
            hint="Remove it, or make it readable by this user alone.",
        )
    return folder / f"{name}.sock"


def listen(files: DaemonFiles) -> tuple[Listener, Path]:
    """Listen, and write down where, with a new key; the caller holds the lock, so nobody else does."""
    path = socket_path(files.data)
    for dead in path.parent.glob(f"{_socket_prefix(files.data)}*.sock"):
        dead.unlink(missing_ok=True)
    key = secrets.token_bytes(32)
    listener = Listener(str(path), "AF_UNIX", backlog=128, authkey=key)
    try:
        content = {"address": str(path), "key": key.hex(), "pid": os.getpid(), "protocol": PROTOCOL}
        write_atomically(files.address, json.dumps(content))
    except BaseException:
        listener.close()
        raise
    return listener, path


def connect(files: DaemonFiles) -> Connection:
    """Connect to the daemon that has written down its address.

    Raises:
        AuthenticationError, OSError, EOFError, ValueError, KeyError: there is none, or it has another key.
    """
    content = json.loads(files.address.read_bytes())
    return Client(content["address"], "AF_UNIX", authkey=bytes.fromhex(content["key"]))
