"""nvalchemi-toolkit-ops: particle-mesh Ewald in Warp kernels, for fixed charges. Its first call compiles (a minute)."""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version

import numpy as np
import torch

from .child import Answer, Run, Task

COULOMB = 14.399645478  # eV angstrom
CUTOFF, ALPHA, MESH, ORDER = 9.0, 0.38, 1.0, 6
SETTINGS = {"fixed": f"PME, order {ORDER}, mesh {MESH} A, alpha {ALPHA} / A, cut-off {CUTOFF} A"}
_ops = importlib.import_module("nvalchemiops.torch.interactions.electrostatics")
_vesin = importlib.import_module("vesin")


def version() -> str:
    """Of the package."""
    return _version("nvalchemi-toolkit-ops")


def fixed(task: Task) -> Run:
    """Energy, forces and virial."""
    torch.set_num_threads(task.threads)
    charges, positions = torch.as_tensor(task.charges), torch.as_tensor(task.positions)
    cell = torch.diag(torch.as_tensor(task.box))[None]
    alpha = torch.tensor([ALPHA], dtype=torch.float64)

    def run() -> Answer:
        neighbours = _vesin.NeighborList(cutoff=CUTOFF, full_list=True, sorted=True)
        i, j, shift = neighbours.compute(task.positions, np.diag(task.box), True, "ijS")
        first = np.concatenate([[0], np.cumsum(np.bincount(i, minlength=len(task)))])
        _, forces, _ = _ops.particle_mesh_ewald(
            positions,
            charges,
            cell,
            alpha=alpha,
            mesh_spacing=MESH,
            spline_order=ORDER,
            neighbor_list=torch.as_tensor(np.stack([i, j]).astype(np.int32)),
            neighbor_ptr=torch.as_tensor(first.astype(np.int32)),
            neighbor_shifts=torch.as_tensor(shift.astype(np.int32)),
            compute_forces=True,
            compute_virial=True,
        )
        return Answer(task.charges, COULOMB * forces.numpy(), stress=True)

    return run
