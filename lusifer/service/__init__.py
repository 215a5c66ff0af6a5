"""Models that run elsewhere: an embedding service's vectors through the same ``Embedder``.

The only part of the library that speaks HTTP to a service. Must not know who asks, nor how vectors are used.
"""

from __future__ import annotations

from lusifer.service.options import ServiceOptions, is_service

__all__ = ["ServiceOptions", "is_service"]
