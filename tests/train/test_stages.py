"""Both training stages on tiny models: they learn, resume exactly, and leave models that load."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from lusifer import CheckpointError, ConfigError, Embedder, TrainingError
from lusifer.checkpoints.own import write_static
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig
from lusifer.tokenization import load_tokenizer
from lusifer.train.cli import app
from lusifer.train.run import learning_rate
from lusifer.train.stages.align import AlignStage, align
from lusifer.train.stages.collate import SourceTokens
from lusifer.train.stages.data import Examples
from lusifer.train.stages.distributed import Processes
from lusifer.train.stages.finetune import FinetuneStage, cached_backward, finetune
from lusifer.train.stages.model import build
from lusifer.train.stages.settings import AlignConfig, FinetuneConfig

BOTH = pytest.mark.parametrize(
    ("stage", "kind"), [(align, AlignConfig), (finetune, FinetuneConfig)], ids=["align", "finetune"]
)
TEXTS = ["Where does the baker sell bread?", "The miller keeps flour by the river.", "lamps"]
DROPOUT: dict[str, Any] = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.2}}


def quiet(_: str) -> None:
    pass


def losses(config: Any) -> list[float]:
    lines = (Path(config.run) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [json.loads(line)["loss"] for line in lines]


def gradients(stage: Any, step: int = 0) -> dict[str, Tensor]:
    stage.backward(step)
    return {name: value.grad for name, value in stage.module.named_parameters() if value.grad is not None}


def assert_near(found: Tensor, expected: Tensor, share: float) -> None:
    """Compare two tensors, to a share of the second one's largest element."""
    torch.testing.assert_close(found, expected, rtol=0, atol=share * float(expected.abs().max()))


def make_stage(config: Any) -> Any:
    examples = Examples(config, lambda *_: None, together=True)
    kind = AlignStage if isinstance(config, AlignConfig) else FinetuneStage
    return kind(config, build(config, head=kind is AlignStage), examples, Processes(config))


@pytest.mark.slow
def test_the_commands_take_the_toy_through_both_stages(tmp_path: Path) -> None:
    """The shipped tiny configurations, cut short: alignment, then finetuning from what it left."""
    run = CliRunner()
    assert run.invoke(app, ["toy", str(tmp_path)]).exit_code == 0
    for stage, steps, fall in (("align", 12, 0.15), ("finetune", 6, 0.1)):
        path = tmp_path / f"{stage}.toml"
        text = path.read_text(encoding="utf-8").replace("[optimiser]", f"[optimiser]\nsteps = {steps}")
        path.write_text(text, encoding="utf-8")
        done = run.invoke(app, [stage, str(path)])
        assert done.exit_code == 0, done.output
        assert f"step {steps}/{steps}" in done.output
        log = (tmp_path / "runs" / stage / "log.jsonl").read_text(encoding="utf-8").splitlines()
        values = [json.loads(line)["loss"] for line in log]
        assert values[-1] < values[0] - fall, values
    model = Embedder.load(tmp_path / "runs" / "finetune" / "model")
    assert (model.name, model.dimensions) == ("toy", 48)
    assert model.embed_query(TEXTS, instruction="Find the answer.").shape == (3, 48)


@pytest.mark.slow
def test_finetuning_learns_far_more_than_chance(configure: Any, toy: Path, still: Path) -> None:
    config = configure(
        FinetuneConfig,
        model={"encoder": str(still)},
        data=[{"path": str(toy / "examples.jsonl"), "limit": 16}],
        optimiser={"learning_rate": 5e-3, "steps": 16, "epochs": 8},
        finetune={"chunk": 0},
    )
    finetune(config, quiet)
    texts = 8 * 3  # a question, a passage and a negative each
    assert np.mean(losses(config)[-4:]) < np.log(texts - 1) / 2


@pytest.mark.slow
@BOTH
def test_an_interrupted_run_goes_on_bit_by_bit(stage: Any, kind: Any, configure: Any) -> None:
    tables: dict[str, Any] = {"train": DROPOUT, "output": {"checkpoint_every": 2, "log_every": 1}}
    whole, parts = configure(kind, "whole", **tables), configure(kind, "parts", **tables)
    stage(whole, quiet)

    class StopError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("step 4"):
            raise StopError

    with pytest.raises(StopError):
        stage(parts, stop)
    assert len(losses(parts)) == 4, "the fourth step was taken, but not saved"
    lines: list[str] = []
    stage(parts, lines.append)
    assert "going on from step 2" in lines
    assert losses(parts) == losses(whole)
    first, second = (load_file(Path(item.run) / "model" / "model.safetensors") for item in (whole, parts))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.slow
def test_a_finished_run_is_kept_and_other_settings_refused(configure: Any) -> None:
    config = configure(AlignConfig)
    align(config, quiet)
    before = losses(config)
    align(config, quiet)
    assert losses(config) == before
    with pytest.raises(TrainingError, match=r"alignment.causal, optimiser.learning_rate differ"):
        align(configure(AlignConfig, alignment={"causal": False}, optimiser={"learning_rate": 1.0}), quiet)
    for path in (Path(config.run) / "checkpoints").rglob("*.distcp"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-000004 cannot be read"):
        align(config, quiet)


def test_gradcache_equals_the_plain_gradient(configure: Any, still: Path) -> None:
    tables: dict[str, Any] = {"model": {"encoder": str(still)}}
    plain = gradients(make_stage(configure(FinetuneConfig, finetune={"chunk": 0}, **tables)))
    cached = gradients(make_stage(configure(FinetuneConfig, finetune={"chunk": 5}, **tables)))
    assert plain.keys() == cached.keys()
    assert any(".lora_A." in name for name in plain)
    for name, gradient in plain.items():
        assert_near(cached[name], gradient, 1e-3)


def test_gradcache_draws_the_same_dropout_twice() -> None:
    layer, drop = nn.Linear(2, 3), nn.Dropout(0.5)
    seen: list[Tensor] = []

    def vectors(rows: list[list[int]], chunk: int) -> Tensor:
        torch.manual_seed(chunk)
        seen.append(drop(layer(torch.tensor(rows, dtype=torch.float32))))
        return seen[-1]

    synchronised: list[bool] = []
    rows = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    value = cached_backward(lambda reps: reps.square().sum(), rows, 2, vectors, synchronised.append, 1)
    assert value == pytest.approx(float(sum(part.detach().square().sum() for part in seen[:3])))
    assert synchronised == [False, False, True]
    assert all(torch.equal(first, second) for first, second in zip(seen[:3], seen[3:], strict=True))
    assert not torch.equal(seen[0] == 0, seen[1] == 0)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("layout", ["lusifer", "published"])
def test_what_is_written_is_what_was_trained(stage: Any, kind: Any, layout: str, configure: Any) -> None:
    config = configure(
        kind,
        train={
            "encoder": "lora",
            "language_model": "lora" if kind is FinetuneConfig else "frozen",
            **DROPOUT,
        },
        output={"format": layout},
        optimiser={"steps": 2},
    )
    built: list[Any] = []

    def keep(*arguments: Any, **options: Any) -> Any:
        built.append(build(*arguments, **options))
        return built[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lusifer.train.stages.trainer.build", keep)
        folder = stage(config, quiet)
    embedder = Embedder.load(folder, device="cpu")
    instruction = "Find the answer."
    found = embedder.embed_query(TEXTS, instruction=instruction)
    model = built[0].model.eval()
    rows = SourceTokens(model.config, built[0].tokenizer)([("query", text, instruction) for text in TEXTS])
    for row, vector in zip(rows, found, strict=True):
        with torch.no_grad():
            reps = model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long)).reps[0]
        np.testing.assert_allclose(vector, nn.functional.normalize(reps, dim=0), atol=1e-5)


@pytest.mark.slow
def test_bfloat16_and_checkpointing_stay_close(configure: Any) -> None:
    frozen: dict[str, Any] = {"train": {"language_model": "frozen"}}
    for kind in (AlignConfig, FinetuneConfig):
        exact = make_stage(configure(kind, **frozen))
        reference = gradients(exact)
        again = gradients(make_stage(configure(kind, hardware={"gradient_checkpointing": True}, **frozen)))
        for name, gradient in reference.items():
            assert_near(again[name], gradient, 1e-5)
        rough = make_stage(configure(kind, hardware={"precision": "bf16"}, **frozen))
        types = {
            (item.dtype, item.requires_grad)
            for name, item in rough.module.named_parameters()
            if ".projection." not in name
        }
        assert types == {(torch.bfloat16, False), (torch.float32, True)}
        assert rough.backward(1) == pytest.approx(exact.backward(1), rel=2e-2)


@pytest.mark.parametrize(
    ("train", "learning"),
    [
        ({"encoder": "frozen"}, {"connector"}),
        ({"encoder": "full"}, {"connector", "encoder"}),
        ({"encoder": "lora", "connector": False}, {"encoder"}),
        ({"encoder": "frozen", "language_model": "lora"}, {"connector", "language_model"}),
    ],
)
def test_only_what_shall_learn_gets_gradients(train: Any, learning: set[str], configure: Any) -> None:
    stage = make_stage(configure(AlignConfig, train=train))
    found = gradients(stage)
    assert {name.split(".")[1] for name in found} == learning
    assert found.keys() == {name for name, item in stage.module.named_parameters() if item.requires_grad}
    assert stage.module.model.encoder.training == (train["encoder"] != "frozen")


def test_a_table_of_tokens_can_be_aligned_and_finetuned(configure: Any, toy: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(toy / "encoder" / "tokenizer.json")
    rows = tokenizer.get_vocab_size()
    table = np.random.default_rng(0).standard_normal((rows, 16)).astype(np.float32)
    config = ModelConfig("table", EncoderConfig("token_table", rows, 16), LanguageModelConfig(16))
    write_static(tmp_path / "table", table, tokenizer, config)
    first = align(
        configure(AlignConfig, model={"encoder": str(tmp_path / "table")}, train={"encoder": "frozen"}), quiet
    )
    aligned = Embedder.load(first)
    assert aligned.config.encoder == config.encoder
    assert aligned.config.prompts == config.prompts
    begun = {"start": str(first)}
    values = configure(FinetuneConfig, "second", train={"encoder": "full", "language_model": "full"})
    values = type(values).from_values(_with_model(values, begun), tmp_path)
    second = Embedder.load(finetune(values, quiet))
    assert not np.allclose(second.embed_query(TEXTS), aligned.embed_query(TEXTS), atol=1e-3)
    assert np.isfinite(second.embed_query(TEXTS)).all()


def _with_model(config: Any, model: dict[str, Any]) -> dict[str, Any]:
    return {**asdict(config), "model": model}


def test_parts_that_do_not_fit_are_named(configure: Any, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing in this model would learn"):
        align(configure(AlignConfig, train={"encoder": "frozen", "connector": False}), quiet)
    with pytest.raises(ConfigError, match=r"of type 'mistral'"):
        align(configure(AlignConfig, model={"encoder": str(toy / "language-model")}), quiet)
    with pytest.raises(ConfigError, match=r"no token '<mask>'"):
        align(configure(AlignConfig, model={"mask_token": "<mask>"}), quiet)
    with pytest.raises(ConfigError, match=r"max_tokens is 500.*1 to 128"):
        align(configure(AlignConfig, model={"max_tokens": 500}), quiet)
    with pytest.raises(ConfigError, match=r"no place for max_tokens = 64"):
        align(configure(AlignConfig, model={"max_tokens": 64}, output={"format": "published"}), quiet)
    with pytest.raises(ConfigError, match="tracker 'no_such_tracker' is not installed"):
        align(configure(AlignConfig, output={"trackers": ["no_such_tracker"]}), quiet)
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (toy / "encoder").glob("*.json"):
        (broken / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=r"weights of .*broken cannot be loaded"):
        align(configure(AlignConfig, model={"encoder": str(broken)}), quiet)
    tensors = load_file(toy / "encoder" / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"broken lacks tensor encoder.layer.1.output.dense.bias"):
        align(configure(AlignConfig, model={"encoder": str(broken)}), quiet)


def test_a_loss_that_is_no_number_ends_the_run(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlignStage, "backward", lambda self, step: float("nan"))
    with pytest.raises(TrainingError, match="at step 1 the loss is nan"):
        align(configure(AlignConfig), quiet)


def test_the_rate_rises_and_falls_by_a_cosine() -> None:
    rates = [learning_rate(step, 100, peak=1.0, low=0.1, warmup=0.1) for step in range(100)]
    assert rates[9] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1 + 0.9 / 10)
    assert rates[55] == pytest.approx(0.55)
    assert rates[99] == pytest.approx(0.1, abs=1e-3)
    assert max(rates) <= 1.0
