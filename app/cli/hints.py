"""What to do about an error, in the words of this program: commands, options and variables.

The libraries give hints that hold wherever they are used; to those, the command is added here.
"""

from __future__ import annotations

from common.errors import HintedError

#: By the name of an error's class: an error is shown without importing the libraries of all others.
COMMANDS = {
    "StoreMissing": "Run `lusifer index PATH`.",
    "FingerprintMismatch": "The model is set with --model or LUSIFER_MODEL; `lusifer index` indexes again.",
    "StoreDamaged": "`lusifer index --rebuild` does so and keeps the damaged folder beside the new one.",
    "StoreShared": "The name is set with LUSIFER_COLLECTION.",
    "StoreUnavailable": "The place is set with --data, or LUSIFER_QDRANT_URL and LUSIFER_QDRANT_API_KEY.",
    "CheckpointMissing": "Where it made the index, `lusifer index --model lusifer-mini` makes it again with "
    "the shipped model.",
    "ServiceError": "The service is set with LUSIFER_EMBEDDINGS_URL and LUSIFER_EMBEDDINGS_API_KEY; "
    "`lusifer serve-embeddings` runs one.",
}


def remedy(error: HintedError) -> str:
    """Say what to do about an error: its own hint and, unless that names it, the command or variable."""
    kinds = (kind.__name__ for kind in type(error).__mro__)
    command = next((COMMANDS[name] for name in kinds if name in COMMANDS), "")
    if "lusifer " in error.hint or "LUSIFER_" in error.hint:
        return error.hint
    if error.hint and command:
        return f"{error.hint.rstrip('.')}. {command}"
    return error.hint or command
