"""A toy to train: tiny random backbones, made-up examples."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lusifer.train.stages.settings import AlignConfig
from lusifer.train.stages.toy import write_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder, examples=128)
    return folder


@pytest.fixture(scope="session")
def still(toy: Path) -> Path:
    """The toy's encoder without dropout, which processes and chunks draw differently."""
    folder = toy / "still"
    shutil.copytree(toy / "encoder", folder)
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    data |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.fixture
def configure(toy: Path, tmp_path: Path) -> Any:
    """Make a short run on the toy, from its backbones, with some tables of its tiny configuration changed."""

    def make(cls: Any, run: str = "run", **tables: Any) -> Any:
        path = toy / ("align.toml" if cls is AlignConfig else "finetune.toml")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        values["model"] = {"encoder": str(toy / "encoder"), "language_model": str(toy / "language-model")}
        values["data"] = [{**item, "path": str(toy / "examples.jsonl")} for item in values["data"]]
        values["run"] = str(tmp_path / run)
        values["optimiser"] |= {"batch": 8, "steps": 4}
        for name, change in tables.items():
            values[name] = values.get(name, {}) | change if isinstance(change, dict) else change
        return cls.from_values(values, tmp_path)

    return make
