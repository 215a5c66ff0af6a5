"""LUSIFER in torch on tiny random models: placement, masks, folding, batching, checkpoints."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from lusifer import CheckpointError, ConfigError, Embedder, TruncationWarning
from lusifer.checkpoints.load import open_model
from lusifer.checkpoints.weights import WeightFiles, save_tensors
from lusifer.config import ConnectorConfig, EncoderConfig, LanguageModelConfig, ModelConfig, Prompts
from lusifer.model import Lusifer, fold, pad, pool
from lusifer.torch_backend import TorchBackend, choose_device, choose_dtype

XLM_R = {
    "vocab_size": 44,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 130,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "initializer_range": 0.4,
}
MISTRAL = {
    "vocab_size": 30,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 32,
    "initializer_range": 0.4,
}
POOLINGS = ("mean", "weightedmean", "lasttoken", "cls")


def describe(**changes: Any) -> ModelConfig:
    config = ModelConfig(
        name="tiny",
        encoder=EncoderConfig.xlm_roberta(XLM_R),
        connector=ConnectorConfig("ff", added_tokens=2, position_multiple=8),
        language_model=LanguageModelConfig.mistral(MISTRAL),
        projection=True,
        prompts=Prompts("{instruction} {text}", "{text}"),
        max_tokens=64,
    )
    return replace(config, **changes)


def build(config: ModelConfig) -> Lusifer:
    torch.manual_seed(3)
    return Lusifer(config).eval()


def save_model(folder: Path, model: Lusifer, tokenizer: Tokenizer) -> None:
    save_tensors(folder, dict(model.named_parameters()), model.config, tokenizer)


def load_backend(folder: Path, dtype: str | None = None) -> TorchBackend:
    backend = open_model(folder, "cpu", dtype).backend
    assert isinstance(backend, TorchBackend)
    return backend


def embed(model: Lusifer, rows: list[list[int]], placement: Any = "text") -> torch.Tensor:
    with torch.inference_mode():
        reps: torch.Tensor = model(*pad(rows, model.encoder.pad_id), placement).reps
    return reps


ROWS = [[5, 6, 7], [9], [4, 8, 15, 16, 23, 42, 3, 3, 7], [10] * 40]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("added", [0, 1, 3])
@pytest.mark.parametrize("multiple", [1, 8])
def test_a_vector_does_not_depend_on_its_batch(pooling: Any, added: int, multiple: int) -> None:
    model = build(describe(pooling=pooling, connector=ConnectorConfig("ff", None, added, multiple)))
    together = embed(model, ROWS)
    for index, row in enumerate(ROWS):
        torch.testing.assert_close(together[index : index + 1], embed(model, [row]), atol=1e-5, rtol=1e-5)


def test_the_authors_placement_does_depend_on_the_batch() -> None:
    model = build(describe(pooling="lasttoken"))
    together = embed(model, ROWS, "batch")
    assert not torch.allclose(together[:1], embed(model, ROWS[:1], "batch"), atol=1e-3)


def test_added_tokens_follow_the_text_at_the_next_multiple() -> None:
    model = build(describe())
    with torch.inference_mode():
        output = model(*pad(ROWS, 1))
    added = model.connector.added_tokens
    assert added is not None
    for row, start in zip(range(4), (8, 8, 16, 40), strict=True):
        torch.testing.assert_close(output.inputs[row, start : start + 2], added.detach())
        assert output.mask[row].nonzero().flatten().tolist() == [
            *range(len(ROWS[row])),
            start,
            start + 1,
        ]


def test_every_position_sees_every_other() -> None:
    model = build(describe(pooling="cls", connector=ConnectorConfig("ff")))
    identity = build(describe(encoder=EncoderConfig("token_table", 44, 16), pooling="cls"))
    for candidate in (model, identity):
        first, second = embed(candidate, [[5, 6, 7]]), embed(candidate, [[5, 6, 8]])
        assert (first - second).abs().max() > 1e-3


def test_sliding_windows_are_ignored() -> None:
    windowed = LanguageModelConfig.mistral(MISTRAL | {"sliding_window": 2})
    plain, narrow = build(describe()), build(describe(language_model=windowed))
    torch.testing.assert_close(embed(plain, ROWS), embed(narrow, ROWS))


@pytest.mark.parametrize("method", POOLINGS)
def test_pooling_is_the_textbook_formula(method: Any) -> None:
    states = torch.randn(1, 5, 3)
    mask = torch.tensor([[1, 1, 0, 0, 1]])
    weights = {
        "mean": [1, 1, 0, 0, 1],
        "weightedmean": [1, 2, 0, 0, 3],
        "lasttoken": [0, 0, 0, 0, 1],
        "cls": [1, 0, 0, 0, 0],
    }[method]
    share = torch.tensor(weights, dtype=torch.float32) / sum(weights)
    torch.testing.assert_close(pool(states, mask, method)[0], share @ states[0])
    assert mask.tolist() == [[1, 1, 0, 0, 1]]


@pytest.mark.parametrize("kind", ["identity", "ff"])
@pytest.mark.parametrize("final_norm", [False, True])
@given(rows=st.lists(st.lists(st.integers(0, 43), min_size=1, max_size=20), min_size=1, max_size=5))
@settings(max_examples=20)
def test_a_folded_model_gives_the_same_vectors(kind: Any, final_norm: bool, rows: list[list[int]]) -> None:
    model = build(
        describe(
            encoder=EncoderConfig("token_table", 44, 24),
            connector=ConnectorConfig(kind),
            language_model=LanguageModelConfig(24, 0, final_norm),
            projection=False,
        )
    )
    table = fold(model)
    assert table.shape == (44, 24)
    folded = torch.stack([table[row].sum(dim=0) for row in rows])
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(folded), unit(embed(model, rows)), atol=1e-6, rtol=0)


def test_contextual_models_cannot_be_folded() -> None:
    with pytest.raises(ConfigError, match="tiny cannot be folded"):
        fold(build(describe()))


@pytest.fixture
def folder(tmp_path: Path, toy_tokenizer: Tokenizer) -> Path:
    save_model(tmp_path / "whole", build(describe()), toy_tokenizer)
    return tmp_path / "whole"


@pytest.fixture
def whole(folder: Path) -> Embedder:
    return Embedder.load(folder, device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"connector": ConnectorConfig("ff", 7, 1)},
        {"encoder": EncoderConfig("token_table", 44, 16)},
        {"language_model": LanguageModelConfig(24, 0, True), "projection": False},
    ],
)
def test_a_model_comes_back_as_it_was_saved(
    tmp_path: Path, toy_tokenizer: Tokenizer, change: dict[str, Any]
) -> None:
    model = build(describe(**change))
    save_model(tmp_path, model, toy_tokenizer)
    assert Embedder.load(tmp_path, device="cpu").config == model.config
    backend = load_backend(tmp_path)
    assert torch.equal(embed(backend.model, ROWS), embed(model, ROWS))
    assert not any(parameter.requires_grad for parameter in backend.model.parameters())


def test_the_contract_holds_for_whole_models(whole: Embedder) -> None:
    texts = ["river", "city water book " * 5, "", "rain sea"]
    rows = whole.embed_documents(texts)
    assert (rows.shape, rows.dtype) == ((4, 24), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows[2], 1 / np.sqrt(24), rtol=1e-6)
    assert whole.embed_documents([]).shape == (0, 24)
    assert not np.allclose(whole.embed_query("river", instruction="book"), whole.embed_query("river"))
    with pytest.raises(ConfigError, match="document prompt of tiny takes no instruction"):
        whole.embed_documents(["river"], instruction="book")


@given(st.permutations([*(("river " * size).strip() for size in (1, 9, 30)), "city", "rain sea law"]))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_vectors_come_in_the_order_given(whole: Embedder, texts: list[str]) -> None:
    together = whole.embed_documents(texts)
    alone = np.concatenate([whole.embed_documents([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_many_texts_run_in_several_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load_backend(folder)
    shapes = []
    forward = backend.model.forward

    def spy(ids: torch.Tensor, *rest: Any) -> Any:
        shapes.append(tuple(ids.shape))
        return forward(ids, *rest)

    monkeypatch.setattr(backend.model, "forward", spy)
    backend.embed([f"river {'city ' * (index % 50)}" for index in range(400)], "document")
    assert len(shapes) > 2
    assert sum(batch for batch, _ in shapes) == 400
    assert max(batch * length for batch, length in shapes) <= 4096


def test_long_texts_are_cut_with_a_warning_that_points_to_the_caller(whole: Embedder) -> None:
    with pytest.warns(TruncationWarning, match="1 text was longer than 64 tokens") as caught:
        rows = whole.embed_documents(["river " * 500, "rain"])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(rows[0], whole.embed_documents(["river " * 64])[0], atol=1e-5)


def test_the_projection_can_be_left_out(folder: Path, whole: Embedder) -> None:
    early = Embedder.load(folder, device="cpu", projected=False)
    assert not np.allclose(early.embed_query("river"), whole.embed_query("river"), atol=1e-2)
    assert early.fingerprint != whole.fingerprint


def test_devices_and_number_formats_are_checked(folder: Path) -> None:
    for device in ("abacus", "cuda:99", "meta"):
        with pytest.raises(ConfigError, match=device):
            Embedder.load(folder, device=device)
    with pytest.raises(ConfigError, match="no dtype 'int8'"):
        Embedder.load(folder, device="cpu", dtype="int8")
    model = load_backend(folder, "bfloat16").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


NAME = "language_model.transformer.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(NAME), f"lacks tensor {NAME}"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "unknown tensor more"),
        (
            lambda tensors: tensors.update({NAME: torch.zeros(3, 3)}),
            f"{NAME} has shape [3, 3], the configuration wants [32, 24]",
        ),
    ],
)
def test_wrong_tensors_are_named(folder: Path, change: Any, said: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        Embedder.load(folder, device="cpu")
    assert said in caught.value.message


def test_a_cut_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: .*incomplete"):
        Embedder.load(folder, device="cpu")


def test_a_diverged_model_is_not_saved(tmp_path: Path, toy_tokenizer: Tokenizer) -> None:
    model = build(describe())
    with torch.no_grad():
        next(model.projection.parameters()).fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"projection\.0\.weight holds NaN"):
        save_model(tmp_path / "bad", model, toy_tokenizer)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_there_is_is_taken(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    device = choose_device(None)
    assert device.type == chosen
    assert choose_dtype(None, device) == (torch.float32 if chosen == "cpu" else torch.bfloat16)


def test_tensors_without_elements_are_read(tmp_path: Path) -> None:
    save_file({"none": torch.zeros(3, 0, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    found = WeightFiles(tmp_path).read("none")
    assert (found.shape, found.dtype) == ((3, 0), torch.bfloat16)


def test_repeats_are_damped_in_torch_as_in_the_table() -> None:
    config = describe(
        encoder=EncoderConfig("token_table", 44, 16),
        connector=ConnectorConfig("ff"),
        language_model=LanguageModelConfig(24),
        projection=False,
    )
    model = build(config)
    damped = build(replace(config, repeats=0.75))
    ids = [5, 6, 5, 5, 7]
    table = fold(damped)
    expected = 3**0.75 * table[5] + table[6] + table[7]
    torch.testing.assert_close(
        torch.nn.functional.normalize(embed(damped, [ids, [9]])[0], dim=0),
        torch.nn.functional.normalize(expected, dim=0),
    )
    torch.testing.assert_close(embed(damped, [[5, 6, 7]]), embed(model, [[5, 6, 7]]))
    with pytest.raises(ConfigError, match=r"repeats is 1\.5"):
        replace(config, repeats=1.5)
    with pytest.raises(ConfigError, match="needs mean pooling"):
        replace(config, repeats=0.5, pooling="cls")
