"""Training in several processes: each takes a share of every batch, and gradients are those of the whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

#: Seconds after which a process that hears nothing of the others gives up.
PATIENCE = 600


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: of this process; that of rank 0 writes.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """The sum over processes in place of each gradient, zeros where a process has none."""
        if self.size == 1:
            return
        held = list(parameters)
        for p in held:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        for kind in dict.fromkeys(p.dtype for p in held):
            gradients = [p.grad for p in held if p.dtype == kind and p.grad is not None]
            flat = self.sum(torch.cat([g.reshape(-1) for g in gradients]))
            for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                g.copy_(part.view_as(g))

    def equalise(self, module: nn.Module) -> None:
        """Give all processes the weights of the first."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)


@contextmanager
def world(device: str = "cpu") -> Iterator[World]:
    """The processes that torchrun started, or this one alone; of those that train on "cuda" each has its own GPU.

    Raises:
        ValueError: several processes on one GPU.
        RuntimeError: the processes do not find one another.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    backend = "gloo"
    if device != "cpu":
        place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if device != "cuda" or place >= gpus:
            raise ValueError(
                f"`device` of {size} processes must be cuda with a GPU for each on its machine, or cpu, got {device!r} for "
                f"process {place} where torch sees {gpus}; start as many with --nproc-per-node"
            )
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=PATIENCE))
    except (ValueError, dist.DistError) as error:
        raise RuntimeError(f"{size} processes must find one another, got {error}; start them with torchrun") from error
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
