"""The processes of a run: who there is, what they share, how the model is spread over them.

Processes are made by ``torchrun`` or ``accelerate launch``; a run without either is one process. A thin layer
over accelerate (devices, process group, trackers) and torch (DDP, FSDP2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from lusifer.errors import ConfigError
from lusifer.train.stages.settings import HardwareSettings, StageConfig


class Processes:
    """This process among its like.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        device: where this process computes.
        main: whether this is the one that writes and speaks.

    Raises:
        ConfigError: the device asked for is not there, or a tracker is not installed.
    """

    def __init__(self, config: StageConfig) -> None:
        from accelerate import Accelerator  # type: ignore[import-untyped]

        hardware, trackers = config.hardware, config.output.trackers
        for name in trackers:
            if find_spec(name) is None:
                raise ConfigError(
                    f"the tracker {name!r} is not installed", hint=f"install it with pip install {name}"
                )
        if hardware.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("hardware.device is 'cuda', but there is none here", hint="use 'cpu'")
        there = torch.cuda.is_available() or torch.backends.mps.is_available()
        # Without an accelerator, accelerate takes part in a process group only when the CPU is asked for.
        self._accelerator = Accelerator(
            cpu=hardware.device == "cpu" or not there, log_with=trackers or None, project_dir=config.run
        )
        self._hardware: HardwareSettings = hardware
        self.rank: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device
        self.main: bool = self._accelerator.is_main_process
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if launched != self.count:
            raise ConfigError(
                f"{launched} processes were launched, but {self.count} found each other on {self.device}",
                hint="use a device that several processes can share: cuda, or cpu",
            )

    def spread(self, module: nn.Module) -> nn.Module:
        """Put a module on this process's device, and over all processes where there are several."""
        module = module.to(self.device)
        if self.count == 1:
            return module
        if self._hardware.parallel == "ddp":
            devices = [self.device] if self.device.type == "cuda" else None
            return DistributedDataParallel(module, device_ids=devices)
        mesh = init_device_mesh(self.device.type, (self.count,))
        for layers in [child for child in module.modules() if isinstance(child, nn.ModuleList)]:
            for layer in layers:
                fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh)
        return module

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context in which to compute: autocast to bfloat16, or nothing."""
        if self._hardware.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in their order; every process must bring as many. No gradient."""
        if self.count == 1:
            return rows.detach()
        parts = [torch.empty_like(rows) for _ in range(self.count)]
        dist.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        value = value.detach().clone()
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait until every process has come here."""
        self._accelerator.wait_for_everyone()

    def start_trackers(self, project: str, config: Mapping[str, Any]) -> None:
        """Begin to track a run, where trackers are set."""
        if self._accelerator.log_with:
            self._accelerator.init_trackers(project, config=dict(config))

    def track(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers to the trackers."""
        self._accelerator.log(dict(values), step=step)

    def end_trackers(self) -> None:
        """Close what ``start_trackers`` opened."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def leave() -> None:
    """Part from the other processes; the last thing a command does."""
    if dist.is_initialized():
        dist.destroy_process_group()


def set_synchronised(module: nn.Module, wanted: bool) -> None:
    """Choose whether the next backward pass sums gradients over the processes.

    Only the last of several passes in a step has to; must be called before the forward pass.
    """
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(wanted)
    elif isinstance(module, DistributedDataParallel):
        module.require_backward_grad_sync = wanted


def clip_gradients(module: nn.Module, largest: float) -> float:
    """Scale gradients down to a norm; 0 only measures. Returns the norm before."""
    norm = torch.nn.utils.clip_grad_norm_(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        largest if largest else torch.inf,
    )
    full: Callable[[], Tensor] | None = getattr(norm, "full_tensor", None)
    return float(norm if full is None else full())


def whole_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter in full, on the CPU of the main process; all processes must call it."""
    if isinstance(module, FSDPModule):
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_model_state_dict(module, options=options)
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, nn.Module)
    return {name: parameter.detach().cpu() for name, parameter in inner.named_parameters()}
