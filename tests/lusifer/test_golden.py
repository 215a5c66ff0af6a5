"""The recorded outputs of the authors' code, on a tiny checkpoint in the published format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lusifer import Embedder, TruncationWarning
from lusifer.checkpoints.load import open_model
from lusifer.config import ModelConfig
from lusifer.model import Lusifer, Output, pad, pool
from lusifer.torch_backend import TorchBackend

FOLDER = Path(__file__).parents[1] / "data" / "golden-tiny"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
EXAMPLES = pytest.mark.parametrize("example", GOLDEN["examples"], ids=lambda example: example["id"])
#: Of the largest number in a recorded tensor: what float32 gives over several layers on any processor.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load(FOLDER / "lusifer", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    backend = open_model(FOLDER / "lusifer", "cpu", "float32").backend
    assert isinstance(backend, TorchBackend)
    return backend


def kind(is_query: bool) -> Any:
    return "query" if is_query else "document"


def close(found: Any, recorded: Any) -> None:
    wanted = np.asarray(recorded, np.float32)
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max())


def unit(rows: Any) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def run(backend: TorchBackend, example: dict[str, Any], placement: Any = "batch") -> Output:
    with torch.inference_mode():
        return backend.model(*pad([example["input_ids"]], backend.model.encoder.pad_id), placement)


def same_tensor(found: torch.Tensor, recorded: dict[str, Any], last_real: int) -> None:
    tensor = found[0].double()
    assert list(tensor.shape) == recorded["shape"]
    for row, place in (("first_row", 0), ("last_real_row", last_real), ("last_row", -1)):
        if row in recorded:
            close(tensor[place], recorded[row])
    absolute = float(tensor.abs().sum())
    assert absolute == pytest.approx(recorded["abs_sum"], rel=1e-5)
    assert float(tensor.square().sum()) == pytest.approx(recorded["sq_sum"], rel=1e-5)
    assert float(tensor.sum()) == pytest.approx(recorded["sum"], abs=1e-3 * (1 + absolute * 1e-3))


def unpack(mask: Any) -> tuple[int, int]:
    return (mask["ones"], mask["total"]) if isinstance(mask, dict) else (sum(mask), len(mask))


@EXAMPLES
@pytest.mark.filterwarnings("ignore::lusifer.TruncationWarning")
def test_token_ids_are_the_recorded_ones(backend: TorchBackend, example: dict[str, Any]) -> None:
    rows = backend.tokenise([example["text"]], kind(example["is_query"]), example["instruction"])
    assert rows == [example["input_ids"]]
    rendered = backend.model.config.prompts.render(
        kind(example["is_query"]), example["text"], example["instruction"]
    )
    assert rendered == example["prompt_text"]


@EXAMPLES
def test_every_intermediate_is_the_recorded_one(backend: TorchBackend, example: dict[str, Any]) -> None:
    output = run(backend, example)
    last = example["num_tokens"] - 1
    same_tensor(output.encoder_states, example["universal_hidden"], last)
    same_tensor(output.inputs, example["connector_output"], last)
    same_tensor(output.states, example["encoder_hidden"], last)
    assert (int(output.mask.sum()), output.mask.shape[1]) == unpack(example["encoder_attention_mask"])
    close(output.pooled[0], example["pooled_before_projection"])
    close(output.reps[0], example["reps"])


@EXAMPLES
def test_both_placements_agree_for_a_text_alone(backend: TorchBackend, example: dict[str, Any]) -> None:
    close(run(backend, example, "text").reps, run(backend, example, "batch").reps)


def test_all_vectors_are_those_of_each_text_alone_whatever_the_batch(embedder: Embedder) -> None:
    for is_query, embed in ((True, embedder.embed_query), (False, embedder.embed_documents)):
        chosen = [example for example in GOLDEN["examples"] if example["is_query"] == is_query]
        for instruction in {example["instruction"] for example in chosen}:
            group = [example for example in chosen if example["instruction"] == instruction]
            texts = [example["text"] for example in group]
            if any(example["truncated"] for example in group):
                with pytest.warns(TruncationWarning):
                    found = embed(texts, instruction=instruction)
            else:
                found = embed(texts, instruction=instruction)
            close(found, unit([example["reps"] for example in group]))


def test_vectors_before_the_projection_can_be_had(backend: TorchBackend) -> None:
    early = Embedder.load(FOLDER / "lusifer", device="cpu", projected=False)
    example = GOLDEN["examples"][0]
    found = getattr(early, "embed_query" if example["is_query"] else "embed_documents")(
        [example["text"]], instruction=example["instruction"]
    )
    close(found[0], unit(example["pooled_before_projection"]))


def test_full_intermediates(backend: TorchBackend) -> None:
    recorded = GOLDEN["full_intermediates"]
    ids, mask = torch.tensor([recorded["input_ids"]]), torch.tensor([recorded["attention_mask"]])
    with torch.inference_mode():
        output = backend.model(ids, mask, "batch")
    close(output.encoder_states[0], recorded["universal_hidden"])
    close(output.inputs[0], recorded["connector_output"])
    assert output.mask[0].tolist() == recorded["encoder_attention_mask"]
    close(output.states[0], recorded["encoder_hidden"])
    close(output.pooled[0], recorded["pooled"])
    close(output.reps[0], recorded["reps"])


@pytest.mark.parametrize("call", GOLDEN["encode_calls"], ids=lambda call: call["name"])
def test_encode_calls_with_the_authors_batching(backend: TorchBackend, call: dict[str, Any]) -> None:
    sentences, options = call["sentences"], call["kwargs"]
    if isinstance(sentences, dict):
        sentences = [sentences]
    texts = [
        text if isinstance(text, str) else (text["title"] + " " if "title" in text else "") + text["text"]
        for text in sentences
    ]
    is_query = call["method"] != "encode_corpus" and options.get("is_query", True)
    rows = backend.tokenise(texts, kind(is_query), options.get("instruction", ""))
    rows = [row[: options.get("max_length")] for row in rows]
    size = options.get("batch_size", 256)
    found = [as_recorded(backend, rows[start : start + size]) for start in range(0, len(rows), size)]
    close(np.concatenate(found), call["reps"])


@torch.inference_mode()
def as_recorded(backend: TorchBackend, rows: list[list[int]]) -> np.ndarray:
    """Return what the authors' code does for a batch: added tokens after its padding, nothing normalised."""
    reps: np.ndarray = backend.model(*pad(rows, backend.model.encoder.pad_id), "batch").reps.numpy()
    return reps


def padded(backend: TorchBackend, recorded: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = backend.tokenise(recorded["texts"], kind(recorded["is_query"]), recorded["instruction"])
    return pad(rows, backend.model.encoder.pad_id)


@pytest.mark.parametrize("method", ["mean", "weightedmean", "lasttoken", "cls"])
def test_pooling_methods(backend: TorchBackend, method: Any) -> None:
    recorded = GOLDEN["pooling_methods"]
    ids, mask = padded(backend, recorded)
    assert list(ids.shape) == recorded["padded_shape"]
    model = backend.model
    with torch.inference_mode():
        output = model(ids, mask, "batch")
        pooled = pool(output.states, output.mask, method)
        assert model.projection is not None
        close(pooled, recorded["methods"][method]["pooled"])
        close(model.projection(pooled), recorded["methods"][method]["reps"])


@pytest.mark.parametrize("method", list(GOLDEN["num_added_tokens_0"]["methods"]))
def test_added_tokens_switched_off_in_the_configuration(tmp_path: Path, method: str) -> None:
    recorded = GOLDEN["num_added_tokens_0"]
    folder = copy_checkpoint(tmp_path, num_added_tokens=0, pooling_method=method)
    embedder = Embedder.load(folder, device="cpu")
    embed = embedder.embed_query if recorded["is_query"] else embedder.embed_documents
    close(
        embed(recorded["texts"], instruction=recorded["instruction"]),
        unit(recorded["methods"][method]["reps"]),
    )


def copy_checkpoint(folder: Path, **changes: Any) -> Path:
    """Copy the tiny checkpoint, with some fields of its configuration changed (None removes one)."""
    copy = folder / "lusifer"
    copy.mkdir()
    settings = json.loads((FOLDER / "lusifer" / "config.json").read_text(encoding="utf-8")) | changes
    (copy / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    (copy / "model.safetensors").write_bytes((FOLDER / "lusifer" / "model.safetensors").read_bytes())
    (folder / "backbones").symlink_to(FOLDER / "backbones")
    return copy


def test_bfloat16_stays_close(embedder: Embedder) -> None:
    texts = [example["text"] for example in GOLDEN["examples"] if not example["truncated"]]
    rough = Embedder.load(FOLDER / "lusifer", device="cpu", dtype="bfloat16").embed_query(texts)
    cosines = np.einsum("ij,ij->i", rough, embedder.embed_query(texts))
    assert cosines.min() > 1 - 1e-3


def test_the_configuration_says_what_the_fixture_is(embedder: Embedder, backend: TorchBackend) -> None:
    config = embedder.config
    assert isinstance(config, ModelConfig)
    assert config.dimensions == GOLDEN["meta"]["embedding_dim"]
    assert (config.max_tokens, config.connector.added_tokens, config.pooling) == (512, 1, "mean")
    assert isinstance(backend.model, Lusifer)
