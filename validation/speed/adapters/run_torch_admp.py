"""torch-admp: particle-mesh Ewald and projected conjugate gradients on PyTorch."""

from __future__ import annotations

import importlib
import math
from importlib.metadata import version as _version
from typing import Any

import numpy as np
import torch

from .child import Answer, Run, Task

SETTINGS = {"qeq": "pgrad_optimize quadratic, eps 1e-8, ethresh 1e-6, mesh 0.75 A, cut-off 9 A"}
_admp = importlib.import_module("torch_admp.qeq")
_vesin = importlib.import_module("vesin")


def version() -> str:
    """Of the package."""
    return _version("torch_admp")


def qeq(task: Task) -> Run:
    """Its hardness is half of J, its eta is sigma. The tolerance is of norm / N; not converging is silent, so it is checked."""
    torch.set_num_threads(task.threads)
    like = torch.zeros(0, dtype=torch.float64)
    mesh = [max(12, math.ceil(edge / 0.75)) for edge in task.box]
    module = _admp.QEqForceModule(rcut=task.cutoff(9.0), ethresh=1e-6, kmesh=mesh, eps=1e-8, max_iter=200)
    positions, box = like.new_tensor(task.positions), like.new_tensor(np.diag(task.box))
    chi, hardness = like.new_tensor(task.chi), like.new_tensor(task.hardness) / 2
    eta = like.new_full((len(task),), task.sigma)

    def run() -> Answer:
        r = positions.clone().requires_grad_()
        pairs, distances = _pairs(task, r, box)
        weights = torch.ones_like(distances.detach())
        energy, q = _admp.pgrad_optimize(
            module,
            torch.zeros_like(chi),
            r,
            box,
            chi,
            hardness,
            eta,
            pairs,
            distances,
            weights,
            torch.ones(1, len(task), dtype=torch.float64),
            torch.zeros(1, dtype=torch.float64),
            reinit_q=True,
            method="quadratic",
        )
        if int(module.converge_iter) < 0:
            raise RuntimeError("not converged within 200 iterations")
        forces = -torch.autograd.grad(energy.sum(), r)[0]
        return Answer(q.detach().numpy(), forces.numpy(), int(module.converge_iter) + 1)

    return run


def _pairs(task: Task, r: Any, box: Any) -> tuple[Any, Any]:
    neighbours = _vesin.NeighborList(cutoff=task.cutoff(9.0), full_list=False)
    i, j, shift = neighbours.compute(task.positions, np.diag(task.box), True, "ijS")
    first, second = torch.as_tensor(i.astype(np.int64)), torch.as_tensor(j.astype(np.int64))
    apart = r[second] - r[first] + torch.as_tensor(shift.astype(np.float64)) @ box
    return torch.stack([first, second], 1), apart.norm(dim=1)
