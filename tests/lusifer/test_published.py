"""The published checkpoint format in all its variants, made from the tiny golden checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lusifer import CheckpointError, ConfigError, Embedder
from lusifer.checkpoints.own import checkpoint_folder

GOLDEN = Path(__file__).parents[1] / "data" / "golden-tiny"
TEXTS = ["The river was calm before sunrise.", "Mvua inatarajiwa kesho.", ""]
Tensors = dict[str, torch.Tensor]
LORA = re.compile(r"(.*)\.lora_(A|B)\.(\w+)\.weight")


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return load_file(GOLDEN / "lusifer" / "model.safetensors")


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return Embedder.load(GOLDEN / "lusifer", device="cpu").embed_query(TEXTS)


def write(
    folder: Path,
    tensors: Tensors,
    settings: dict[str, Any] | None = None,
    *,
    remove: tuple[str, ...] = (),
    encoder: dict[str, Any] | None = None,
    language_model: dict[str, Any] | None = None,
) -> Path:
    """Write a published checkpoint with its backbones inside, their configurations changed as asked."""
    folder.mkdir(exist_ok=True)
    base = json.loads((GOLDEN / "lusifer" / "config.json").read_text(encoding="utf-8"))
    data = {key: value for key, value in (base | (settings or {})).items() if key not in remove}
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    for name, changes in (("tiny-xlm-roberta", encoder), ("tiny-mistral", language_model)):
        source, target = GOLDEN / "backbones" / name, folder / "backbones" / name
        target.mkdir(parents=True, exist_ok=True)
        described = json.loads((source / "config.json").read_text(encoding="utf-8")) | (changes or {})
        (target / "config.json").write_text(json.dumps(described), encoding="utf-8")
        (target / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    return folder


def load(folder: Path) -> Embedder:
    return Embedder.load(folder, device="cpu", dtype="float32")


def merge(tensors: Tensors, chosen: Callable[[str], bool] = lambda _: True, scale: float = 3.0) -> Tensors:
    """Merge the LoRA of the chosen modules into their weights, the way of the reference, in float64."""
    result = {name: tensor.clone() for name, tensor in tensors.items()}
    for name in tensors:
        match = LORA.fullmatch(name)
        if match is None or match[2] != "A" or not chosen(match[1]):
            continue
        module, adapter = match[1], match[3]
        down, up = result.pop(name), result.pop(f"{module}.lora_B.{adapter}.weight")
        weight = result.pop(f"{module}.base_layer.weight")
        result[f"{module}.weight"] = (weight.double() + scale * up.double() @ down.double()).float()
        if f"{module}.base_layer.bias" in result:
            result[f"{module}.bias"] = result.pop(f"{module}.base_layer.bias")
    return result


def rename(tensors: Tensors, pattern: str, replacement: str) -> Tensors:
    return {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items()}


def test_without_lora_wrapping(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    plain = rename(merge(tensors), r"\.base_model\.model\.", ".")
    assert "encoder.model.layers.0.mlp.up_proj.weight" in plain
    nothing = {"encoder_lora_name": None, "universal_learner_lora_name": None}
    embedder = load(write(tmp_path / "plain", plain, nothing))
    np.testing.assert_allclose(embedder.embed_query(TEXTS), expected, atol=1e-5)


def test_one_side_wrapped(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    mixed = rename(
        merge(tensors, lambda module: module.startswith("encoder")),
        r"^encoder\.base_model\.model\.",
        "encoder.",
    )
    embedder = load(write(tmp_path / "mixed", mixed, {"encoder_lora_name": None}))
    np.testing.assert_allclose(embedder.embed_query(TEXTS), expected, atol=1e-5)


def test_some_modules_wrapped(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    some = merge(tensors, lambda module: not module.endswith(("query", "o_proj")))
    assert any(".query.base_layer." in name for name in some)
    assert not any(".key.base_layer." in name for name in some)
    np.testing.assert_allclose(load(write(tmp_path / "some", some)).embed_query(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("configured", ["other-name", "encoder_lora"])
def test_any_adapter_name(tmp_path: Path, tensors: Tensors, expected: np.ndarray, configured: str) -> None:
    renamed = rename(tensors, r"\.encoder_lora\.", ".other-name.")
    embedder = load(write(tmp_path / "named", renamed, {"encoder_lora_name": configured}))
    np.testing.assert_array_equal(embedder.embed_query(TEXTS), expected)


def test_lora_on_the_token_embeddings(tmp_path: Path, tensors: Tensors) -> None:
    module = "universal_learner.base_model.model.embeddings.word_embeddings"
    down, up = torch.randn(4, 840) * 0.1, torch.randn(32, 4) * 0.1
    wrapped = dict(tensors)
    wrapped[f"{module}.base_layer.weight"] = wrapped.pop(f"{module}.weight")
    wrapped[f"{module}.lora_embedding_A.universal_learner_lora"] = down
    wrapped[f"{module}.lora_embedding_B.universal_learner_lora"] = up
    merged = tensors | {f"{module}.weight": tensors[f"{module}.weight"] + 3.0 * (up @ down).T}
    found = load(write(tmp_path / "wrapped", wrapped)).embed_query(TEXTS)
    np.testing.assert_allclose(found, load(write(tmp_path / "merged", merged)).embed_query(TEXTS), atol=1e-5)


def test_sharded_files(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    folder = write(tmp_path / "sharded", tensors)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {f"model-0000{part}-of-00003.safetensors": names[part - 1 :: 3] for part in (1, 2, 3)}
    for file, inside in files.items():
        save_file({name: tensors[name] for name in inside}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, inside in files.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(load(folder).embed_query(TEXTS), expected)

    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00003"):
        load(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b.safetensors"}}')
    with pytest.raises(CheckpointError, match="outside its folder"):
        load(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        load(folder)


def test_a_tensor_in_two_shards_is_named(tmp_path: Path, tensors: Tensors) -> None:
    folder = write(tmp_path / "twice", tensors)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    save_file({"output_projection.0.bias": torch.zeros(48)}, folder / "b.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"output_projection\.0\.bias is in a\.safetensors and in b"):
        load(folder)


def test_missing_and_unknown_fields(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    trimmed = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    folder = write(
        tmp_path / "short",
        trimmed,
        {"invented_later": {"deep": [1]}, "lora_r": 4},
        remove=(
            "loar_r",
            "dropout",
            "attn_implementation",
            "pooling_method",
            "encoder_lora_name",
            "universal_learner_backbone_type",
            "encoder_backbone_type",
            "connection_type",
        ),
    )
    np.testing.assert_array_equal(load(folder).embed_query(TEXTS), expected)


def test_what_embeddings_never_use_may_be_missing(
    tmp_path: Path, tensors: Tensors, expected: np.ndarray
) -> None:
    used = {
        name: tensor
        for name, tensor in tensors.items()
        if not re.search(r"pooler|lm_head|embed_tokens", name)
    }
    assert len(used) < len(tensors) - 3
    np.testing.assert_array_equal(load(write(tmp_path / "lean", used)).embed_query(TEXTS), expected)


def test_a_sliding_window_is_ignored(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    folder = write(tmp_path / "window", tensors, language_model={"sliding_window": 4})
    np.testing.assert_array_equal(load(folder).embed_query(TEXTS), expected)


def test_both_ways_of_writing_the_rotary_base(tmp_path: Path, tensors: Tensors, expected: np.ndarray) -> None:
    newer = {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
    found = load(write(tmp_path / "newer", tensors, language_model=newer))
    np.testing.assert_array_equal(found.embed_query(TEXTS), expected)
    other = newer | {"rope_parameters": {"rope_theta": 10.0}}
    moved = load(write(tmp_path / "other", tensors, language_model=other)).embed_query(TEXTS)
    assert np.abs(moved - expected).max() > 1e-3
    assert found.fingerprint == load(write(tmp_path / "newer", tensors)).fingerprint


def test_a_head_size_of_its_own(tmp_path: Path, tensors: Tensors) -> None:
    wide = rename(merge(tensors), r"\.base_model\.model\.", ".")
    for name in list(wide):
        if re.search(r"layers\.\d+\.self_attn\.(q|k|v)_proj", name):
            wide[name] = torch.cat([wide[name], wide[name]])
        if re.search(r"layers\.\d+\.self_attn\.o_proj", name):
            wide[name] = torch.cat([wide[name], wide[name]], dim=1)
    folder = write(tmp_path / "wide", wide, language_model={"head_dim": 24})
    assert load(folder).embed_query(TEXTS).shape == (3, 48)
    with pytest.raises(CheckpointError, match=r"q_proj\.weight has shape \[96, 48\].* wants \[48, 48\]"):
        load(write(tmp_path / "wide", wide))


@pytest.mark.parametrize("added", [0, 1])
def test_the_longest_input_follows_the_positions_there_are(
    tmp_path: Path, tensors: Tensors, added: int
) -> None:
    name = "universal_learner.base_model.model.embeddings.position_embeddings.weight"
    fewer = tensors | {name: tensors[name][:66]}
    folder = write(
        tmp_path / "short", fewer, {"num_added_tokens": added}, encoder={"max_position_embeddings": 66}
    )
    embedder = load(folder)
    assert embedder.max_tokens == 64
    with pytest.warns(UserWarning, match="longer than 64 tokens"):
        assert np.isfinite(embedder.embed_query("river " * 200)).all()


QUERY = "universal_learner.base_model.model.encoder.layer.1.attention.self.query"
UP = "encoder.base_model.model.model.layers.2.mlp.up_proj"
HARM: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "no base": (
        lambda t: t.pop(f"{QUERY}.base_layer.weight"),
        "lacks tensor universal_learner.encoder.layer.1.attention.self.query.weight",
    ),
    "no bias": (
        lambda t: t.pop(f"{QUERY}.base_layer.bias"),
        "lacks tensor universal_learner.encoder.layer.1.attention.self.query.bias",
    ),
    "no lora_B": (
        lambda t: t.pop(f"{UP}.lora_B.encoder_lora.weight"),
        f"lacks tensor {UP}.lora_B.encoder_lora.weight",
    ),
    "no lora_A": (
        lambda t: t.pop(f"{UP}.lora_A.encoder_lora.weight"),
        f"lacks tensor {UP}.lora_A.encoder_lora.weight",
    ),
    "no norm": (
        lambda t: t.pop("encoder.base_model.model.model.norm.weight"),
        "lacks tensor encoder.model.norm.weight",
    ),
    "no connector": (lambda t: t.pop("connection_module.ff.2.bias"), "tensor connection_module.ff.2.bias"),
    "no added tokens": (
        lambda t: t.pop("connection_module.added_tokens"),
        "lacks tensor connection_module.added_tokens",
    ),
    "a whole side": (
        lambda t: [t.pop(name) for name in list(t) if name.startswith("encoder.")],
        " and 27 more",
    ),
    "unknown": (lambda t: t.update(thing=torch.zeros(1)), "unknown tensor thing"),
    "unknown projection": (
        lambda t: t.update({"output_projection.4.bias": torch.zeros(1)}),
        "unknown tensor output_projection.4.bias",
    ),
    "another layer": (
        lambda t: t.update({UP.replace("2", "7") + ".base_layer.weight": torch.zeros(1)}),
        "unknown tensor encoder.base_model.model.model.layers.7.mlp.up_proj.base_layer.weight",
    ),
    "shape": (
        lambda t: t.update({f"{UP}.base_layer.weight": torch.zeros(48, 96)}),
        f"{UP}.base_layer.weight has shape [48, 96], the configuration wants [96, 48]",
    ),
    "rank": (
        lambda t: t.update({f"{UP}.lora_A.encoder_lora.weight": torch.zeros(5, 48)}),
        f"{UP}.lora_A.encoder_lora.weight has shape [5, 48], the configuration wants [4, 48]",
    ),
    "lora_B shape": (
        lambda t: t.update({f"{UP}.lora_B.encoder_lora.weight": torch.zeros(95, 4)}),
        f"{UP}.lora_B.encoder_lora.weight has shape [95, 4], the configuration wants [96, 4]",
    ),
    "two adapters": (
        lambda t: t.update({f"{UP}.lora_A.second.weight": torch.zeros(4, 48)}),
        f"unknown tensor {UP}.lora_A.second.weight",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_wrong_tensors_are_named_as_the_file_names_them(tmp_path: Path, tensors: Tensors, harm: str) -> None:
    damaged = dict(tensors)
    change, said = HARM[harm]
    change(damaged)
    with pytest.raises(CheckpointError) as caught:
        load(write(tmp_path / "bad", damaged))
    assert said in caught.value.message
    assert caught.value.hint


def test_adapters_of_which_none_is_configured(tmp_path: Path, tensors: Tensors) -> None:
    both = tensors | {f"{UP}.lora_A.second.weight": torch.zeros(4, 48)}
    with pytest.raises(CheckpointError, match="encoder/encoder_lora, encoder/second"):
        load(write(tmp_path / "both", both, {"encoder_lora_name": "third"}))


def test_a_cut_file_is_named(tmp_path: Path, tensors: Tensors) -> None:
    folder = write(tmp_path / "cut", tensors)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pooling_method": "max"}, "field pooling_method is 'max'"),
        ({"num_added_tokens": "one"}, "field num_added_tokens is 'one'"),
        ({"num_added_tokens": -1}, "added_tokens is -1"),
        ({"connection_type": "embedding_table"}, "connection_type is 'embedding_table'"),
        ({"encoder_backbone_type": "llama"}, "types xlm-r and llama"),
        ({"universal_learner_backbone_type": "t5"}, "types t5 and mistral"),
        ({"encoder_name_or_path": "backbones/tiny-xlm-roberta"}, "'xlm-roberta'"),
    ],
)
def test_configurations_of_other_models_are_refused(
    tmp_path: Path, tensors: Tensors, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / "other", tensors, changes))
    assert said in caught.value.message


def test_damaged_backbones_are_named(tmp_path: Path, tensors: Tensors) -> None:
    folder = write(tmp_path / "bad", tensors)
    path = folder / "backbones" / "tiny-mistral" / "config.json"
    path.write_text("{")
    with pytest.raises(CheckpointError, match=r"tiny-mistral/config\.json is damaged"):
        load(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"config\.json of the backbone backbones/tiny-mistral"):
        load(folder)


def test_names_that_cannot_be_fetched_say_how_to_get_them(
    tmp_path: Path, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the network is unreachable\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(CheckpointError) as caught:
        Embedder.load("Hieuman/LUSIFER")
    assert "Hieuman/LUSIFER" in caught.value.message
    assert caught.value.message.endswith("the network is unreachable")
    assert "hf download Hieuman/LUSIFER --local-dir" in caught.value.hint

    folder = write(tmp_path / "remote", tensors, {"encoder_name_or_path": "someone/mistral"})
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert str(folder / "someone" / "mistral") in caught.value.hint


def test_a_name_on_the_hub_is_fetched_once_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(GOLDEN / "lusifer"))
    assert Embedder.load("someone/lusifer", device="cpu").dimensions == 48


@pytest.mark.parametrize("name", ["./models/none", "/no/such/folder", "none", "a/b/c", "bad name/x"])
def test_paths_are_never_taken_for_names_on_the_hub(name: str) -> None:
    with pytest.raises(CheckpointError, match="there is no model folder"):
        checkpoint_folder(name)
