"""The collections on a Qdrant server that are searched under one name, an alias."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

from common.files import write_atomically
from store.collection import Collection
from store.engine import Condition
from store.errors import (
    InvalidRequest,
    StoreDamaged,
    StoreMissing,
    StoreOutdated,
    StoreShared,
)
from store.location import NAME, IndexBase, base_name, next_name, owner_id
from store.server.engine import AlreadyThere, ServerCalls, ServerEngine, redact
from store.types import CollectionInfo, Schema

_TIMEOUT = 60
#: A collection that was made less than so many seconds ago may be another program's that is building it.
YOUNG_SECONDS = 3600.0
#: Says what was current last, for when the server is away.
REMEMBERED = "current.json"
_logger = logging.getLogger(__name__)


def connect(url: str, api_key: str | None) -> QdrantClient:
    """Make a client; nothing is sent yet.

    Raises:
        InvalidRequest: the address is not one.
    """
    if not _is_address(url):
        raise InvalidRequest(
            f"{redact(url)!r} is not the address of a Qdrant server",
            hint="Give one like http://localhost:6333.",
        )
    if api_key and not url.startswith("https:"):
        _logger.warning("The API key travels unencrypted to %s", redact(url))
    with warnings.catch_warnings():
        # Said above, in the log rather than on the user's screen.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(url=url, api_key=api_key, timeout=_TIMEOUT, check_compatibility=False)


def _is_name(name: str) -> bool:
    if not name.isprintable() or name in (".", ".."):  # what cannot be encoded is not printable
        return False
    return bool(re.fullmatch(r"[^/:*?<>\\\"|]+", name)) and len(name.encode()) <= 180


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if ":" not in host:
            host.encode("idna")  # refuses what no name server is asked for
        is_possible = bool(host) and parts.port != 0
    except ValueError:
        return False
    return is_possible and parts.scheme in ("http", "https") and url.isprintable() and " " not in url


class ServerIndex(IndexBase):
    """An ``IndexLocation`` on a server: collections ``NAME--<fingerprint>`` and the alias NAME of one.

    An alias that exists is moved by ``create_alias`` at once; several changes in one request are not, so
    there is only ever one. Several data folders may keep their documents under one name, of one model.

    Args:
        client: the server.
        name: what users call the collection.
        data: the data folder; manifests are kept there.
        address: of the server, for messages.
    """

    def __init__(self, client: QdrantClient, name: str, data: Path, *, address: str = ":memory:") -> None:
        super().__init__(data.expanduser())
        if not _is_name(name):
            raise InvalidRequest(
                f"{name!r} cannot be the name of a collection",
                hint='Choose at most 180 bytes of UTF-8, all printable, without any of / : * ? < > \\ " |.',
            )
        self._client = client
        self._name = name
        self._address = address
        self._call = ServerCalls(name, address)
        self._known: dict[str, CollectionInfo] = {}
        self._told: CollectionInfo | None = None

    @property
    def owner(self) -> str:
        return owner_id(self._data)

    def current(self) -> CollectionInfo | None:
        name = self._current_name()
        try:
            info = None if name is None else self._info(name)
        except StoreOutdated:
            return None
        except StoreMissing:
            # It was replaced and removed between the two requests.
            name = self._current_name()
            info = None if name is None else self._info(name)
        self._remember(info)
        return info

    def remembered(self) -> CollectionInfo | None:
        try:
            found = json.loads((self._data / "server" / REMEMBERED).read_text("utf-8"))
            return CollectionInfo(found["name"], found["id"], Schema(**found["schema"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, info: CollectionInfo | None) -> None:
        """Write down what is current, if this folder has its manifest; a mere searcher writes nothing."""
        if info is None or info == self._told or not self.manifest_folder(info).exists():
            return
        write_atomically(self._data / "server" / REMEMBERED, json.dumps(asdict(info)))
        self._told = info

    def open(self, info: CollectionInfo | None = None) -> Collection:
        name = self._current_name() if info is None else info.name
        if name is None:
            self._check_name()
            raise StoreMissing(
                f"Nothing is indexed: {redact(self._address)} has no collection {self._name!r}",
                hint="Index some documents first.",
            )
        engine = self._load(name)
        if info is not None and engine.info.id != info.id:
            raise StoreMissing(f"The collection {name!r} was replaced", hint="Open it again.")
        return Collection(engine, owner=lambda: self.owner)

    def delete(self) -> None:
        found = self._collections()
        for info in found:
            self._check_replaceable(info)
        for info in found:
            self._remove(info)
        if self._current_name() is not None:
            change = models.DeleteAlias(alias_name=self._name)
            self._change_alias(models.DeleteAliasOperation(delete_alias=change))
        self._remove_former_version()

    def manifest_folder(self, info: CollectionInfo) -> Path:
        """Return the folder of the collection's id: the server may move, a snapshot get another name."""
        return self._data / "server" / info.id

    def build(self, schema: Schema, *, fresh: bool = False) -> CollectionInfo:
        if self._current_name() is None:
            self._check_name()
            # Search the one collection there is if only the alias is lost: snapshots are restored without it.
            found = [info for info in self._collections() if self.open(info).count()]
            if len(found) == 1:
                self._point(found[0])
        info = super().build(schema, fresh=fresh)
        if info.name != self._current_name():
            # Whoever made it may not have come to this.
            self._load(info.name).create_indexes()
        return info

    def _current_name(self) -> str | None:
        return self._aliases().get(self._name)

    def _collections(self) -> list[CollectionInfo]:
        found = []
        for name in self._names(NAME):
            try:
                found.append(self._info(name))
            except (StoreDamaged, StoreMissing):
                continue  # somebody else's, or gone meanwhile
        return found

    def _names(self, pattern: str) -> list[str]:
        """List the collections called NAME--..., whoever made them."""
        found = self._call(self._client.get_collections).collections
        return sorted(
            one.name for one in found if re.fullmatch(f"{re.escape(self._name)}--{pattern}", one.name)
        )

    def _aliases(self) -> dict[str, str]:
        found = self._call(self._client.get_aliases).aliases
        return {one.alias_name: one.collection_name for one in found}

    def _check_name(self) -> None:
        """Refuse a name that a collection has: an alias cannot have it too.

        Raises:
            StoreDamaged: somebody else made it; ``StoreOutdated``: a former version of this program did.
        """
        if self._call(lambda: self._client.collection_exists(self._name)):
            self._load(self._name)

    def _load(self, name: str) -> ServerEngine:
        return ServerEngine.load(self._client, name, self._address)

    def _info(self, name: str) -> CollectionInfo:
        if name not in self._known:
            self._known[name] = self._load(name).info
        return self._known[name]

    def _make(self, schema: Schema, *, another: bool) -> CollectionInfo:
        prefix = f"{self._name}--"
        taken = [name.removeprefix(prefix) for name in self._names(NAME)] if another else []
        name = prefix + next_name(base_name(schema), taken)
        # That it is there already is well: another program was quicker, or an answer was lost.
        with suppress(AlreadyThere):
            ServerEngine.create(self._client, name, schema, self._address)
        engine = self._load(name)
        if engine.info.schema != schema:
            raise StoreDamaged(
                f"The collection {name!r} at {redact(self._address)} holds something else than its name says",
                hint="Choose another name, or remove it.",
            )
        return engine.info

    def _point(self, info: CollectionInfo) -> None:
        change = models.CreateAlias(collection_name=info.name, alias_name=self._name)
        self._change_alias(models.CreateAliasOperation(create_alias=change))
        self._remember(info)

    def _change_alias(self, operation: models.CreateAliasOperation | models.DeleteAliasOperation) -> None:
        self._call(lambda: self._client.update_collection_aliases(change_aliases_operations=[operation]))

    def _remove(self, info: CollectionInfo) -> None:
        # The manifest first: a collection without one is only filled again.
        shutil.rmtree(self.manifest_folder(info), ignore_errors=True)
        self._known.pop(info.name, None)
        self._call(lambda: self._client.delete_collection(info.name))

    def _check_replaceable(self, info: CollectionInfo) -> None:
        others = self._count_others(self._load(info.name))
        if others:
            raise StoreShared(
                f"The collection {self._name!r} at {redact(self._address)} also holds {others} chunks of "
                "other data folders, which would be lost",
                hint="Keep its model, or choose another name for this data folder's collection.",
            )

    def _is_removable(self, info: CollectionInfo) -> bool:
        engine = self._load(info.name)
        is_young = time.time() - engine.created < YOUNG_SECONDS
        return not is_young and info.name not in self._aliases().values() and not self._count_others(engine)

    def _count_others(self, engine: ServerEngine) -> int:
        return engine.count(Condition(except_owner=self.owner))

    def _remove_former_version(self) -> None:
        aliased = self._aliases().values()
        for name in self._names(r"\d{1,7}"):
            if name not in aliased and self._is_outdated(name):
                self._call(lambda name=name: self._client.delete_collection(name))  # type: ignore[misc]

    def _is_outdated(self, name: str) -> bool:
        try:
            self._load(name)
        except StoreOutdated:
            return True
        except (StoreDamaged, StoreMissing):
            return False
        return False
