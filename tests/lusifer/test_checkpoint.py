"""Checkpoint folders: what is written is read back, and every kind of damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from lusifer import CheckpointError, ConfigError, Embedder
from lusifer.checkpoints.own import fingerprint, map_tensors, quantise_rows, read_config, write_static
from lusifer.config import ModelConfig


@pytest.mark.parametrize(("quantise", "worst"), [("int8", 5e-3), ("float16", 5e-4), (None, 1e-6)])
def test_number_formats_keep_the_vectors(
    toy_tokenizer: Tokenizer,
    tmp_path: Path,
    toy: Embedder,
    toy_table: np.ndarray,
    toy_config: ModelConfig,
    quantise: Any,
    worst: float,
) -> None:
    write_static(tmp_path / "m", toy_table, toy_tokenizer, toy_config, quantise)
    texts = ["river city", "water book school", "rain"]
    found = Embedder.load(tmp_path / "m").embed_documents(texts)
    assert np.einsum("ij,ij->i", found, toy.embed_documents(texts)).min() > 1 - max(worst**2 * 10, 1e-6)
    np.testing.assert_allclose(found, toy.embed_documents(texts), atol=worst)


def test_rows_are_rounded_by_half_a_step_at_most(toy_table: np.ndarray) -> None:
    rows, scale = quantise_rows(toy_table)
    assert (rows.dtype, scale.dtype, rows.min() >= -127) == (np.int8, np.float32, True)
    assert (np.abs(rows * scale[:, None] - toy_table) <= scale[:, None] * 0.501).all()
    assert not rows[:2].any()
    assert not scale[:2].any()


def test_the_configuration_comes_back_marked_as_folded(toy_folder: Path, toy_config: ModelConfig) -> None:
    assert read_config(toy_folder) == replace(toy_config, folded=True)


def test_what_cannot_be_written_is_refused(
    toy_tokenizer: Tokenizer, tmp_path: Path, toy_table: np.ndarray, toy_config: ModelConfig
) -> None:
    tokenizer = toy_tokenizer
    with pytest.raises(CheckpointError, match="has shape"):
        write_static(tmp_path, toy_table[1:], tokenizer, toy_config)
    broken = toy_table.copy()
    broken[3, 3] = np.nan
    with pytest.raises(CheckpointError, match="NaN"):
        write_static(tmp_path, broken, tokenizer, toy_config)
    with pytest.raises(ConfigError, match="folded"):
        write_static(tmp_path, toy_table, tokenizer, replace(toy_config, pooling="cls"))
    assert not list(tmp_path.iterdir())


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def lie(path: Path, old: bytes, new: bytes) -> None:
    """Change the header without changing its length."""
    data = path.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))


DAMAGE: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no weights": (lambda path: path.unlink(), ["model.safetensors", "cannot be read"]),
    "empty": (lambda path: cut(path, 0), ["is damaged"]),
    "cut in the header": (lambda path: cut(path, 60), ["is damaged"]),
    "cut in the data": (lambda path: cut(path, path.stat().st_size - 5), ["is damaged", "incomplete"]),
    "no header": (lambda path: path.write_bytes(b"\x04" + b"\0" * 7 + b"[12]"), ["damaged", "header"]),
    "garbled header": (
        lambda path: path.write_bytes(b"\x04" + b"\0" * 7 + b"{abc"),
        ["damaged", "header"],
    ),
    "no table": (lambda path: rewrite(path, lambda t: t.pop("table")), ["lacks the tensor table"]),
    "no scale": (lambda path: rewrite(path, lambda t: t.pop("scale")), ["lacks the tensor scale"]),
    "extra": (lambda path: rewrite(path, lambda t: t.update(more=t["scale"])), ["unknown tensor more"]),
    "short table": (
        lambda path: rewrite(path, lambda t: t.update(table=t["table"][:-1].copy())),
        ["tensor table has shape [43, 24]", "[44, 24]"],
    ),
    "short scale": (
        lambda path: rewrite(path, lambda t: t.update(scale=t["scale"][:-1].copy())),
        ["tensor scale has shape [43]"],
    ),
    "wrong type": (
        lambda path: rewrite(path, lambda t: t.update(table=t["table"].astype(np.int32))),
        ["tensor table has type int32"],
    ),
    "wrong scale type": (
        lambda path: rewrite(path, lambda t: t.update(scale=t["scale"].astype(np.int32))),
        ["tensor scale has type int32"],
    ),
    "lying shape": (lambda path: lie(path, b"[44,24]", b"[44,25]"), ["is damaged", "offset"]),
    "lying type": (lambda path: lie(path, b'"I8"', b'"Q8"'), ["is damaged", "Q8"]),
    "negative": (lambda path: lie(path, b"[44,24]", b"[-4,24]"), ["is damaged"]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights_are_named(toy_folder: Path, damage: str) -> None:
    harm, words = DAMAGE[damage]
    harm(toy_folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        Embedder.load(toy_folder)
    assert str(toy_folder) in caught.value.message
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_damaged_tokenizer_is_named(toy_folder: Path, content: str | None) -> None:
    path = toy_folder / "tokenizer.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Embedder.load(toy_folder)


def test_a_tokenizer_of_another_model_is_refused(toy_tokenizer: Tokenizer, toy_folder: Path) -> None:
    other = toy_tokenizer
    other.add_tokens(["onemore"])
    other.save(str(toy_folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="45 pieces, the table 44 rows"):
        Embedder.load(toy_folder)


def test_truncation_stored_in_a_tokenizer_does_not_count(toy_tokenizer: Tokenizer, toy_folder: Path) -> None:
    tokenizer = toy_tokenizer
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(toy_folder / "tokenizer.json"))
    assert Embedder.load(toy_folder).count_tokens(["river city water book"]) == [4]


def test_a_damaged_configuration_is_named(toy_folder: Path) -> None:
    path = toy_folder / "config.json"
    original = json.loads(path.read_text())
    path.write_text(json.dumps(original | {"pooling": "median"}))
    with pytest.raises(ConfigError, match=r"config\.json: field pooling is 'median'"):
        Embedder.load(toy_folder)
    for content in (b"{", b"[]", b"\xff\xfe{}"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            Embedder.load(toy_folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        Embedder.load(toy_folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model folder .*nowhere"):
        Embedder.load(tmp_path / "nowhere")


def test_the_fingerprint_follows_what_makes_vectors(toy_folder: Path) -> None:
    before = Embedder.load(toy_folder).fingerprint
    path = toy_folder / "config.json"
    original = json.loads(path.read_text())

    path.write_text(json.dumps(original | {"name": "other", "calibration": {"a": 1}}))
    assert Embedder.load(toy_folder).fingerprint == before
    path.write_text(json.dumps(original | {"max_tokens": 31}))
    assert Embedder.load(toy_folder).fingerprint != before
    path.write_text(json.dumps(original | {"prompts": {"query": "q: {text}", "document": "{text}"}}))
    assert Embedder.load(toy_folder).fingerprint != before
    path.write_text(json.dumps(original))
    assert Embedder.load(toy_folder).fingerprint == before

    weights = toy_folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert Embedder.load(toy_folder).fingerprint != before


def test_the_fingerprint_samples_large_files(tmp_path: Path, toy_config: ModelConfig) -> None:
    path, size = tmp_path / "large.bin", 100 << 20

    def digest(size: int, mark: int | None = None) -> str:
        with path.open("wb") as file:
            file.truncate(size)  # a hole, which takes no room
            if mark is not None:
                file.seek(mark)
                file.write(b"\1")
        return fingerprint(toy_config, [path])

    assert digest(size) == digest(size)
    assert len({digest(size), digest(size + 1), digest(size, 9), digest(size, size - 1)}) == 4
    assert digest(size, size // 2 + 12_345) == digest(size), "between samples"


def test_tensors_are_mapped_not_read(toy_folder: Path) -> None:
    path = toy_folder / "model.safetensors"
    table = map_tensors(path)["table"]
    assert isinstance(table, np.memmap)
    assert not table.flags.writeable
    np.testing.assert_array_equal(table, load_file(path)["table"])


@pytest.mark.slow
def test_types_numpy_lacks_are_refused_by_name(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save

    save({"w": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="tensor w has type BF16"):
        map_tensors(tmp_path / "b.safetensors")
    save({"w": torch.zeros(2), "none": torch.zeros(0)}, tmp_path / "c.safetensors")
    assert map_tensors(tmp_path / "c.safetensors")["none"].shape == (0,)


def test_a_configuration_can_be_read_by_itself(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: No such file"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        read_config(tmp_path)
