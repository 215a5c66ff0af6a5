"""What to do about an error, in the words of the command line: commands, options and variables.

The libraries say what happened and give hints that hold wherever they are used; who uses this program is told
the command.
"""

from __future__ import annotations

from common.errors import HintedError

#: By the name of an error's class, so that no library is imported to show an error of another.
_REMEDIES = {
    "StoreMissing": "Run `lusifer index PATH` first.",
    "StoreOutdated": "Run `lusifer index PATH` with your folders again.",
    "FingerprintMismatch": "Use the model it was made with (--model, LUSIFER_MODEL), or run `lusifer index` "
    "to index the documents again with this one.",
    "StoreDamaged": "Run `lusifer index --rebuild`: the documents are indexed again and the damaged folder "
    "is moved aside.",
    "StoreShared": "Set another name in LUSIFER_COLLECTION.",
    "ManifestDamaged": "Run `lusifer index --rebuild`.",
}


def remedy(error: HintedError) -> str:
    """Say what to do about an error: the command where there is one, else the error's own hint."""
    for kind in type(error).__mro__:
        if kind.__name__ in _REMEDIES:
            return _REMEDIES[kind.__name__]
    return error.hint
