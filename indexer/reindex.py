"""Another model's index, made beside the present one and put in its place when it is complete.

The present one is searched, and its record kept, as if nothing happened. Whatever interrupts the work, the
next run with the same model goes on where it was; between the switch of the store and that of the record too.
Must not know how documents are read, nor engines and models.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from indexer.errors import ManifestDamaged, UsageError
from indexer.manifest import STAGED, Manifest
from indexer.session import Backends, Session
from indexer.walk import Walk, is_within
from store.types import Store


def settle(manifest: Manifest, store: Store | None, backends: Backends) -> None:
    """Finish a switch that was interrupted after the store's, and remove what one left behind."""
    backends.sweep_store()
    if store is None or not Manifest.exists(manifest.data, STAGED):
        return
    fingerprint = store.schema.fingerprint
    if manifest.facts().get("fingerprint") == fingerprint:
        return
    with _open_staged(manifest.data) as staged:
        complete = staged.facts().get("fingerprint") == fingerprint
    if complete:
        _take_over(manifest)


def known_roots(manifest: Manifest) -> list[Path]:
    """Return all paths that were ever named: another model's index has to hold what this one does.

    Raises:
        UsageError: one is gone, so that its documents would be lost.
    """
    roots = [Path(root) for root in manifest.roots()]
    for root in roots:
        if not root.exists():
            raise UsageError(
                f"the model cannot be changed while {root} is gone: its documents would be lost",
                hint=f"bring it back, or take it out of the index: lusifer remove {root}",
            )
    return roots


def check_nothing_is_lost(manifest: Manifest, found: Walk) -> None:
    """Refuse to go on where a folder with indexed documents cannot be read now.

    Raises:
        UsageError: names it.
    """
    for rejected in found.rejected:
        if rejected.unreadable and any(
            record.state == "indexed" and is_within(record.path, rejected.name) for record in manifest.under()
        ):
            raise UsageError(
                f"the model cannot be changed while {rejected.name} cannot be read ({rejected.reason}): "
                "its documents would be lost",
                hint=f"make it readable, or take it out of the index: lusifer remove {rejected.name}",
            )


@contextmanager
def staged(manifest: Manifest, backends: Backends, session: Session) -> Iterator[tuple[Manifest, Backends]]:
    """Give a run what makes the index of a session's model beside the present one.

    Its record is what an interrupted run with this model left, or empty.
    """
    schema = session.schema
    with _open_staged(manifest.data) as record:
        if record.facts().get("fingerprint", schema.fingerprint) != schema.fingerprint:
            record.clear()
        yield (
            record,
            replace(
                backends,
                load_embedder=lambda: session.embedder,
                open_store=lambda _: backends.stage_store(schema),
            ),
        )


def switch(manifest: Manifest, backends: Backends, session: Session) -> None:
    """Search the new index from now on, and remove the former when servers have had time to follow."""
    backends.switch_store(session.schema)
    _take_over(manifest)
    time.sleep(backends.grace)
    backends.sweep_store()


def _open_staged(data: Path) -> Manifest:
    """Open the record of the index that is being made; a damaged one is begun anew."""
    try:
        return Manifest.open(data, STAGED)
    except ManifestDamaged:
        Manifest.delete(data, STAGED)
        return Manifest.open(data, STAGED)


def _take_over(manifest: Manifest) -> None:
    manifest.adopt(STAGED)
    Manifest.delete(manifest.data, STAGED)
