"""A small model and an index of the samples in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles import MemoryLocation, WordModel, indexed


@pytest.fixture
def model() -> WordModel:
    return WordModel()


@pytest.fixture
def location(model: WordModel, tmp_path: Path) -> MemoryLocation:
    return indexed(tmp_path, model)
