"""How much a term of a question says: little if every text of some language holds it.

The IDF of a collection cannot tell: among documents in fourteen languages "what" and "the" are rare, because
most documents are in other languages, and then an English question finds English documents by them. So the
terms of questions are weighed by how common they are in their language at large. Nothing is left out: a
question of common words alone keeps their proportions. Must not know collections or engines.

The shares in ``common_words.json`` are counted by ``tools/common_words.py``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_name("common_words.json")

#: The a of the weight a / (a + share): terms of this share count half (SIF, Arora et al. 2017).
HALF_SHARE = 5e-4


def weight(term: str) -> float:
    """Return the weight of a term of a question, above 0 and at most 1."""
    return HALF_SHARE / (HALF_SHARE + _shares().get(term, 0.0))


@cache
def _shares() -> dict[str, float]:
    """Map each common term to its share of running text, in the language where it is commonest."""
    table: dict[str, dict[str, float]] = json.loads(_TABLE.read_text(encoding="utf-8"))
    shares: dict[str, float] = {}
    for language in table.values():
        for term, share in language.items():
            shares[term] = max(share, shares.get(term, 0.0))
    return shares
