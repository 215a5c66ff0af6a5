"""A small corpus in 14 languages, and how to open stores and end daemons, for the tests of the store."""

from __future__ import annotations

import json
import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from common.files import FileLock
from store import Chunk, IndexLocation, Schema, Store
from store.daemon.protocol import DaemonFiles

DIMENSIONS = 24
SCHEMA = Schema(DIMENSIONS, "model-a/chunker-1")
KINDS = ("direct", "daemon", "server")
TEXTS = {
    "en": "The city library opens at nine in the morning",
    "es": "La biblioteca de la ciudad abre a las nueve de la mañana",
    "ru": "Городская библиотека открывается в девять часов утра",
    "fr": "La bibliothèque de la ville ouvre à neuf heures du matin",
    "vi": "Thư viện thành phố mở cửa lúc chín giờ sáng",
    "fa": "کتابخانهٔ شهر ساعت نه صبح باز می‌شود",
    "id": "Perpustakaan kota buka pukul sembilan pagi",
    "ar": "تفتح مكتبة المدينة في التاسعة صباحا",
    "fi": "Kaupungin kirjasto avataan yhdeksältä aamulla",
    "ko": "시립 도서관은 아침 아홉 시에 문을 엽니다",
    "hi": "शहर का पुस्तकालय सुबह नौ बजे खुलता है",
    "bn": "শহরের গ্রন্থাগার সকাল নয়টায় খোলে",
    "te": "నగర గ్రంథాలయం ఉదయం తొమ్మిది గంటలకు తెరుస్తారు",
    "sw": "Maktaba ya jiji hufunguliwa saa tatu asubuhi",
}
CODES = tuple(TEXTS)


def make_chunks(documents: int, per_document: int = 3, *, version: str = "v1", first: int = 0) -> list[Chunk]:
    """Make documents that go round the languages and lie in a few folders, one inside another."""
    chunks = []
    for number in range(first, first + documents):
        code = CODES[number % len(CODES)]
        folder = ("/library", "/library/law", "/library/lawn", "/archive")[number % 4]
        for position in range(per_document):
            chunks.append(
                Chunk(
                    id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number}/{position}/{version}")),
                    document_id=f"{number:032x}",
                    version=version,
                    position=position,
                    start=position * 100,
                    end=position * 100 + 90,
                    text=f"{TEXTS[code]} {number} {position}",
                    heading=f"Part {position}",
                    language=code if position != 2 else "en",
                    path=f"{folder}/document-{number:04d}.txt",
                    folder=folder,
                    title=f"Document {number}",
                    document_language=code,
                    modified=1_700_000_000.5 + number,
                )
            )
    return chunks


def make_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Make random unit vectors, shape (count, DIMENSIONS)."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def open_first(location: IndexLocation, schema: Schema = SCHEMA) -> Store:
    """Open the current collection, or make it if there is none."""
    info = location.build(schema)
    if location.current() is None:
        location.switch(info)
    return location.open(info)


def daemon_pid(data: Path) -> int | None:
    """Name the process that holds the data folder's lock, if one does."""
    lock = FileLock(DaemonFiles(data).lock)
    if lock.try_acquire():
        lock.release()
        return None
    return int(json.loads(DaemonFiles(data).address.read_bytes())["pid"])


def end_daemon(data: Path, number: int = signal.SIGTERM) -> None:
    """Signal the daemon of a data folder and wait until it is gone."""
    if not DaemonFiles(data).lock.exists():
        return
    pid = daemon_pid(data)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        wait_until_free(data)


def wait_until_free(data: Path) -> None:
    """Wait until no process holds the data folder's lock."""
    lock = FileLock(DaemonFiles(data).lock)
    lock.acquire(seconds=30)
    lock.release()
