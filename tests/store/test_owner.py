"""The owner process: started once, found by all, killed without harm, gone when idle."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from pathlib import Path

import pytest
from store_corpus import SCHEMA, end_owner, make_chunks, make_vectors, owner_pid, wait_until_free

import store.daemon.client
import store.daemon.protocol
from store import (
    Filter,
    FingerprintMismatch,
    InvalidRequest,
    Query,
    Schema,
    StoreBusy,
    StoreError,
    StoreMissing,
    StoreUnavailable,
    delete_store,
    open_store,
    reset_store,
)
from store.daemon.client import RemoteStore
from store.daemon.protocol import OwnerFiles, connect
from store.locking import FileLock

CHUNKS = make_chunks(10)
VECTORS = make_vectors(len(CHUNKS))

_CLIENT = """
import sys, pathlib
sys.path[:0] = {path!r}
from store import open_store
from store_corpus import *
store = open_store(pathlib.Path({data!r}), SCHEMA, create=True)
"""


def client_process(data: Path, code: str) -> subprocess.Popen[str]:
    """Run code in a process of its own that has opened the store."""
    path = [str(Path(__file__).parent), str(Path(store.__file__).parent.parent)]
    script = _CLIENT.format(path=path, data=str(data)) + code
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def opened(data: Path) -> RemoteStore:
    found = open_store(data, SCHEMA, create=True)
    assert isinstance(found, RemoteStore)
    return found


def starts(data: Path) -> int:
    return OwnerFiles(data).log.read_text().count(" ready, ")


def test_ten_processes_at_once_start_one_owner(data: Path) -> None:
    code = (
        "chunk = make_chunks(1, 1, first={n})\nstore.upsert(chunk, make_vectors(1))\nprint(store.owner_pid)"
    )
    clients = [client_process(data, code.format(n=n)) for n in range(10)]
    results = [client.communicate(timeout=120) for client in clients]
    assert [error for _, error in results] == [""] * 10
    assert {int(output) for output, _ in results} == {owner_pid(data)}
    assert starts(data) == 1
    with_all = opened(data)
    assert with_all.count() == 10
    with_all.close()


def test_threads_share_a_store(data: Path) -> None:
    shared = opened(data)
    shared.upsert(CHUNKS, VECTORS)

    def work(number: int) -> int:
        if number % 4 == 0:
            shared.upsert(CHUNKS, VECTORS)
        return shared.search(Query(VECTORS[number], "library")).total

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(30))) == {10}
    shared.close()


def test_killed_owners_lose_nothing_acknowledged(data: Path) -> None:
    """Five kills at odd moments while three clients write; what was acknowledged is there afterwards."""
    writing = opened(data)
    stop = threading.Event()

    def write(lane: int) -> list[str]:
        done: list[str] = []
        number = lane
        while not stop.is_set():
            chunks = make_chunks(4, 3, first=number)
            writing.upsert(chunks, make_vectors(12))
            done += [chunk.id for chunk in chunks]
            writing.delete_document(chunks[0].document_id)
            done = done[:-12] + done[-9:]
            number += 40
            if number % 3 == 0:
                writing.flush()
        return done

    with ThreadPoolExecutor(3) as pool:
        lanes = [pool.submit(write, lane * 10) for lane in range(3)]
        for pause in (0.31, 0.07, 0.53, 0.0, 0.19):
            time.sleep(pause)
            os.kill(writing.owner_pid, signal.SIGKILL)
            before = writing.owner_pid
            deadline = time.monotonic() + 60
            while writing.owner_pid == before and time.monotonic() < deadline:
                time.sleep(0.02)
        time.sleep(0.2)
        stop.set()
        acknowledged = {id for lane in lanes for id in lane.result(timeout=120)}
    os.kill(writing.owner_pid, signal.SIGKILL)
    found = {chunk.id: chunk for chunk in writing.scroll(limit=1_000_000)}
    assert set(found) == acknowledged
    assert starts(data) == 7
    writing.close()


def test_killed_clients_do_not_disturb_others(data: Path) -> None:
    steady = opened(data)
    steady.upsert(CHUNKS, VECTORS)
    busy = """
print("on", flush=True)
while True:
    store.upsert(make_chunks(50, first=100), make_vectors(150, 50))
"""
    for pause in (0.0, 0.11, 0.23):
        client = client_process(data, busy)
        assert client.stdout is not None
        assert client.stdout.readline() == "on\n"
        time.sleep(pause)
        client.kill()
        client.communicate(timeout=30)
        assert steady.search(Query(VECTORS[0], "")).documents[0].chunks[0].chunk == CHUNKS[0]
    assert steady.count(Filter(document_ids=(CHUNKS[0].document_id,))) == 3
    assert starts(data) == 1
    steady.close()


def test_client_that_dies_inside_a_message(data: Path) -> None:
    steady = opened(data)
    half = connect(OwnerFiles(data))
    half.recv()
    os.write(half.fileno(), b"\x00\x10\x00\x00" + b"x" * 100)  # promises a megabyte
    assert steady.count() == 0
    half.close()
    stalled = connect(OwnerFiles(data))
    os.write(stalled.fileno(), b"\x00\x10")
    assert steady.count() == 0
    stalled.close()
    assert starts(data) == 1
    steady.close()


def test_client_that_talks_nonsense(data: Path) -> None:
    steady = opened(data)
    odd = connect(OwnerFiles(data))
    odd.recv()
    odd.send(["nonsense"])
    with pytest.raises((EOFError, OSError)):
        odd.recv()
    odd.close()
    assert steady.count() == 0
    log = OwnerFiles(data).log
    deadline = time.monotonic() + 10  # the owner hangs up first and writes it down then
    while "made no sense" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "made no sense" in log.read_text()
    steady.close()


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_strangers_are_refused_before_anything_is_unpickled(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = opened(data)
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    address = json.loads(OwnerFiles(data).address.read_text())["address"]
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(address)
        message = pickle.dumps(_Bomb())
        stranger.sendall(len(message).to_bytes(4, "big") + message)
        stranger.settimeout(10)
        received = b""
        while part := stranger.recv(1000):
            received += part
    assert b"#CHALLENGE#" in received
    assert b"#WELCOME#" not in received
    monkeypatch.setattr(
        store.daemon.protocol.Path, "read_bytes", _wrong_key(store.daemon.protocol.Path.read_bytes)
    )
    with pytest.raises((AuthenticationError, OSError, EOFError)):
        connect(OwnerFiles(data))
    monkeypatch.undo()
    assert not (tmp_path / "exploded").exists()
    assert steady.count() == 0
    steady.close()


def _wrong_key(read):
    return lambda path: b"x" * 32 if path.name == "owner.key" else read(path)


def test_only_the_user_can_reach_the_owner(data: Path) -> None:
    steady = opened(data)
    files = OwnerFiles(data)
    for path in (
        data / "owner.sock",
        files.key,
        files.address,
        files.lock,
        files.log,
        data / "store" / "store.json",
    ):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert len(files.key.read_bytes()) == 32
    steady.close()


def test_long_paths_fall_back_to_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    if len(os.fsencode(runtime)) > 60:
        runtime = Path("/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    data = tmp_path / ("long-" * 30)
    steady = opened(data)
    address = Path(json.loads(OwnerFiles(data).address.read_text())["address"])
    assert address.parent.parent == runtime
    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    steady.upsert(CHUNKS, VECTORS)
    assert steady.count() == len(CHUNKS)
    steady.close()
    end_owner(data)
    assert not address.exists()


def test_a_private_folder_that_is_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Path(os.path.relpath(tmp_path))  # short enough whatever the temporary folder is called
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    folder = runtime / f"lusifer-{os.getuid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    monkeypatch.setattr(store.protocol, "MAX_ADDRESS_BYTES", len(os.fsencode(folder)) + 30)
    with pytest.raises(StoreUnavailable, match="private"):
        store.daemon.protocol.socket_path(tmp_path / ("long-" * 30))


def test_idle_owners_end_and_are_started_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSIFER_OWNER_IDLE_SECONDS", "0.3")
    first = opened(data)
    first.upsert(CHUNKS, VECTORS)
    time.sleep(1.0)
    assert owner_pid(data) == first.owner_pid, "a connected client keeps it"
    first.close()
    wait_until_free(data)
    assert not (data / "owner.sock").exists()
    assert json.loads((data / "store" / "store.json").read_text())["points"] == len(CHUNKS), "it flushed"
    second = open_store(data, None)
    assert second.count() == len(CHUNKS)
    second.close()


def test_writes_are_flushed_when_it_is_quiet(data: Path) -> None:
    steady = opened(data)
    steady.upsert(CHUNKS, VECTORS)
    deadline = time.monotonic() + 30
    while (data / "store" / "journal").stat().st_size and time.monotonic() < deadline:
        time.sleep(0.1)
    assert json.loads((data / "store" / "store.json").read_text())["points"] == len(CHUNKS)
    steady.close()


def test_owner_listens_anew_when_its_socket_is_tidied_away(data: Path) -> None:
    steady = opened(data)
    (data / "owner.sock").unlink()
    deadline = time.monotonic() + 30
    while not (data / "owner.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    other = opened(data)
    assert other.owner_pid == steady.owner_pid
    assert starts(data) == 1
    steady.close()
    other.close()


def test_owner_leaves_when_the_data_folder_is_gone(data: Path) -> None:
    import shutil

    steady = opened(data)
    pid = steady.owner_pid
    shutil.rmtree(data)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    fresh = opened(data)
    assert fresh.count() == 0
    steady.close()
    fresh.close()


def test_the_reason_is_told_when_it_cannot_start(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSIFER_OWNER_IDLE_SECONDS", "soon")
    with pytest.raises(StoreUnavailable, match="could not convert string to float: 'soon'") as caught:
        opened(data)
    assert str(OwnerFiles(data).log) in caught.value.hint


def test_the_reason_is_told_when_it_dies_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "regex.py").write_text("raise ImportError('regex is broken here')")
    monkeypatch.setattr(
        store.launch,
        "_environment",
        lambda: (
            os.environ | {"PYTHONPATH": f"{tmp_path}/broken{os.pathsep}{Path(store.__file__).parent.parent}"}
        ),
    )
    with pytest.raises(StoreUnavailable, match="regex is broken here"):
        opened(data)


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(data: Path) -> None:
    data.chmod(0o500)
    with pytest.raises(StoreUnavailable, match=str(data)):
        opened(data)
    data.chmod(0o700)


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        opened(tmp_path / "file")


def test_while_another_program_holds_the_lock_the_reason_is_told(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = FileLock(OwnerFiles(data).lock)
    lock.acquire()
    # The process that is started reads its own constant, so it is told through its command.
    monkeypatch.setattr(store.launch, "_MODULE", ["-c", _IMPATIENT])
    with pytest.raises(StoreUnavailable, match="Another program is using the store"):
        opened(data)
    lock.release()


_IMPATIENT = "import store.owner, sys; store.owner.PREDECESSOR_SECONDS = 0.1; sys.exit(store.owner.main())"


def test_owner_of_another_version_makes_way(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = opened(data)
    old.upsert(CHUNKS, VECTORS)
    old.close()
    monkeypatch.setattr(store.launch, "PROTOCOL", "next")
    monkeypatch.setattr(store.launch, "_MODULE", ["-c", _NEXT])
    new = opened(data)
    assert new.owner_pid != old.owner_pid
    assert new.count() == len(CHUNKS)
    monkeypatch.undo()
    with pytest.raises(StoreBusy, match="Another version"):
        opened(data)
    new.close()


_NEXT = "import store.owner, sys; store.owner.PROTOCOL = 'next'; sys.exit(store.owner.main())"


def test_nothing_is_started_where_nothing_is_indexed(data: Path) -> None:
    with pytest.raises(StoreMissing, match="Nothing is indexed") as caught:
        open_store(data, SCHEMA)
    assert "lusifer index" in caught.value.hint
    delete_store(data)
    assert list(data.iterdir()) == []


def test_stores_are_not_made_without_a_schema(data: Path) -> None:
    with pytest.raises(InvalidRequest, match="schema"):
        open_store(data, None, create=True)


def test_another_model_is_refused_and_a_rebuild_begins_anew(data: Path) -> None:
    old = opened(data)
    old.upsert(CHUNKS, VECTORS)
    other = Schema(SCHEMA.dimensions, "model-b")
    with pytest.raises(FingerprintMismatch, match=r"model-a.*model-b") as caught:
        open_store(data, other, create=True)
    assert "lusifer index" in caught.value.hint
    new = reset_store(data, other)
    assert new.count() == 0
    with pytest.raises(FingerprintMismatch):
        old.count()
    assert open_store(data, None).schema == other
    assert not list(data.glob("store.*"))
    delete_store(data)
    assert not (data / "store").exists()
    with pytest.raises(StoreMissing):
        new.count()
    old.close()
    new.close()


def test_closed_stores_say_so(data: Path) -> None:
    closed = opened(data)
    closed.close()
    with pytest.raises(StoreError, match="closed"):
        closed.count()


def test_no_text_reaches_the_log(data: Path) -> None:
    steady = opened(data)
    steady.upsert(CHUNKS, VECTORS)
    steady.search(Query(VECTORS[0], "kirjasto"))
    with pytest.raises(InvalidRequest):
        steady.scroll(limit=-1)
    steady.close()
    end_owner(data)
    log = OwnerFiles(data).log.read_text()
    assert "ended" in log
    assert "kirjasto" not in log
    assert not any(chunk.text in log or chunk.path in log for chunk in CHUNKS)


def test_importing_the_store_loads_no_engine() -> None:
    code = (
        "import sys, store; heavy = {'qdrant_client', 'qdrant_edge', 'torch', 'transformers', 'grpc'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
