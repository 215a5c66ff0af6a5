"""Whether a collection is the one that is wanted.

Knows schemas only.
"""

from __future__ import annotations

from store.base import Schema
from store.errors import FingerprintMismatch


def check_schema(found: Schema, wanted: Schema | None) -> None:
    """Refuse to mix vectors of different makes.

    Raises:
        FingerprintMismatch: the schemas differ. ``None`` accepts any.
    """
    if wanted is None or wanted == found:
        return
    raise FingerprintMismatch(
        f"The index was made with {found.fingerprint} ({found.dimensions} dimensions), "
        f"not with {wanted.fingerprint} ({wanted.dimensions} dimensions)",
        hint="Use the model it was made with (--model, LUSIFER_MODEL), or make it anew with this one: "
        "`lusifer index`.",
    )
