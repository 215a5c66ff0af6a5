"""Find out once whether datasets can be downloaded, instead of waiting for every one of them.

Must not know which datasets.
"""

from __future__ import annotations

import os

import httpx

_SECONDS = 10.0


def go_offline_if_unreachable() -> bool:
    """Switch the Hugging Face libraries to what is on this machine if their hub does not answer.

    They retry for half a minute before they give up on a dataset, an hour for all of them. To be called
    before any of them is imported.

    Returns:
        Whether datasets can be downloaded.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        httpx.head(endpoint, timeout=_SECONDS)
    except httpx.HTTPError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return False
    return True
