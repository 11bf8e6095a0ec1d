"""torch-pme: P3M on PyTorch, for fixed charges."""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version

import numpy as np
import torch

from .child import Answer, Run, Task

COULOMB = 14.399645478  # eV angstrom
CUTOFF, SMEARING, MESH, NODES = 6.0, 1.25, 1.0, 5
SETTINGS = {"fixed": f"P3M, {NODES} nodes, mesh {MESH} A, smearing {SMEARING} A, cut-off {CUTOFF} A"}
_pme = importlib.import_module("torchpme")
_vesin = importlib.import_module("vesin")


def version() -> str:
    """Of the package."""
    return _version("torch-pme")


def fixed(task: Task) -> Run:
    """Energy, forces and stress, by autograd."""
    torch.set_num_threads(task.threads)
    torch.set_default_dtype(torch.float64)
    calculator = _pme.P3MCalculator(_pme.CoulombPotential(SMEARING), MESH, NODES)
    charges = torch.as_tensor(task.charges)[:, None]
    cell, positions = torch.diag(torch.as_tensor(task.box)), torch.as_tensor(task.positions)

    def run() -> Answer:
        neighbours = _vesin.NeighborList(cutoff=CUTOFF, full_list=False)
        i, j, shift = neighbours.compute(task.positions, np.diag(task.box), True, "ijS")
        pairs = torch.stack([torch.as_tensor(i.astype(np.int64)), torch.as_tensor(j.astype(np.int64))], 1)
        strain = torch.eye(3).requires_grad_()
        r = positions.clone().requires_grad_()
        moved, box = r @ strain, cell @ strain
        apart = moved[pairs[:, 1]] - moved[pairs[:, 0]] + torch.as_tensor(shift.astype(np.float64)) @ box
        potential = calculator(charges, box, moved, pairs, apart.norm(dim=1))
        energy = COULOMB * (charges * potential).sum()
        slope, _ = torch.autograd.grad(energy, (r, strain))
        return Answer(task.charges, -slope.numpy(), stress=True)

    return run
