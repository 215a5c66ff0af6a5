"""Two processes (gloo, on the CPU) learn what one does: DDP, FSDP2, shared negatives, resuming."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lusifer import Embedder
from lusifer.errors import ConfigError
from lusifer.train.stages.align import align
from lusifer.train.stages.finetune import finetune
from lusifer.train.stages.settings import AlignConfig, FinetuneConfig

KINDS: dict[str, Any] = {"align": (align, AlignConfig), "finetune": (finetune, FinetuneConfig)}
SPREAD = (("align", "fsdp2"), ("finetune", "ddp"), ("finetune", "fsdp2"))
#: What is run again from its first checkpoint.
RESUMED = SPREAD[:2]
WORKER = """
import json, shutil, sys
from pathlib import Path
import torch.distributed as dist
from lusifer.train.stages.align import align
from lusifer.train.stages.finetune import finetune
from lusifer.train.stages.distributed import leave
from lusifer.train.stages.settings import AlignConfig, FinetuneConfig

kinds = {"align": (align, AlignConfig), "finetune": (finetune, FinetuneConfig)}
for stage, values, again in json.loads(Path(sys.argv[1]).read_text()):
    run, kind = kinds[stage]
    config = kind.from_values(values, Path())
    run(config, print)
    if again:
        folder = Path(config.run)
        if dist.get_rank() == 0:
            shutil.copyfile(folder / "log.jsonl", folder / "first.jsonl")
            shutil.rmtree(folder / "checkpoints" / "step-000003")
        dist.barrier()
        run(config, print)
leave()
"""


def launch(arguments: list[str], count: int = 2) -> list[subprocess.CompletedProcess[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return [
        subprocess.CompletedProcess([], process.returncode, output)
        for process, output in zip(started, outputs, strict=True)
    ]


def column(folder: Path, name: str, log: str = "log.jsonl") -> list[float]:
    lines = (folder / log).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)[name] for line in lines]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(configure: Any, still: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "model": {"encoder": str(still)},
        "output": {"checkpoint_every": 2},
        "hardware": {"device": "cpu"},
        # Adam turns rounding into steps of the full rate wherever a gradient is next to nothing.
        "optimiser": {"learning_rate": 1e-3, "steps": 3},
    }
    jobs = []
    for stage, parallel in SPREAD:
        changes = common | {"hardware": {"device": "cpu", "parallel": parallel}}
        config = configure(KINDS[stage][1], f"{stage}-{parallel}", **changes)
        jobs.append((stage, asdict(config), (stage, parallel) in RESUMED))
    (tmp_path / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    for done in launch(["-c", WORKER, str(tmp_path / "jobs.json")]):
        assert done.returncode == 0, done.stdout
    text = "Where does the baker sell bread?"
    for stage, (run, kind) in KINDS.items():
        alone = configure(kind, stage, **common)
        vector = Embedder.load(run(alone, lambda _: None)).embed_query(text)
        expected = column(Path(alone.run), "loss")
        norms = column(Path(alone.run), "gradient_norm")
        for parallel in [how for name, how in SPREAD if name == stage]:
            folder = tmp_path / f"{stage}-{parallel}"
            assert column(folder, "loss") == pytest.approx(expected, abs=1e-5)
            assert column(folder, "gradient_norm") == pytest.approx(norms, rel=1e-3)
            assert Embedder.load(folder / "model").embed_query(text) == pytest.approx(vector, abs=1e-4)
    for stage, parallel in RESUMED:
        folder = tmp_path / f"{stage}-{parallel}"
        assert column(folder, "loss") == column(folder, "loss", "first.jsonl")
        assert column(folder, "step") == [1, 2, 3]


def test_a_batch_that_cannot_be_shared_out_is_refused(
    configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(AlignConfig, optimiser={"batch": 9})
    monkeypatch.setattr("lusifer.train.stages.distributed.Processes.__init__", _of_two)
    with pytest.raises(ConfigError, match=r"batch is 9, which 2 processes cannot share"):
        align(config, lambda _: None)


def _of_two(self: Any, _: Any) -> None:
    self.count = 2


def test_processes_that_do_not_meet_are_noticed(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"4 processes were launched, but 1 found each other"):
        align(configure(AlignConfig), lambda _: None)
