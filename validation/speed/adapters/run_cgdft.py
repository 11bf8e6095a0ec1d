"""cgdft itself, through its public words."""

from __future__ import annotations

import torch

import cgdft
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.solvers import CG
from cgdft.units import angstrom, eV

from .child import Answer, Run, Task

POINT = 0.2  # width of a charge that is a point to its neighbours (2 angstrom and more away), angstrom: erfc(5) = 2e-12
SETTINGS = {
    "qeq": "Hartree(accuracy=2e-7), CG(tolerance=1e-8)",
    "fixed": f"Hartree(self_interaction=False, accuracy=1e-5), width {POINT} A",
}


def version() -> str:
    """Of the package."""
    return cgdft.__version__


def qeq(task: Task) -> Run:
    """Charges, energy and forces."""
    model = cgdft.Model(
        Hartree(accuracy=2e-7)
        + Electronegativity(torch.as_tensor(task.chi) * eV)
        + Hardness(torch.as_tensor(task.hardness) * eV),
        basis=cgdft.Multipoles(width=task.sigma * angstrom),
        solver=CG(tolerance=1e-8),
    )
    structure = _structure(task)

    def run() -> Answer:
        solution = model(structure)
        _ = solution.energy
        charges, forces = solution.charges.detach().numpy(), solution.forces().detach().numpy()
        return Answer(charges, forces / (eV / angstrom), solution.iterations)

    return run


def fixed(task: Task) -> Run:
    """Energy, forces and stress."""
    model = cgdft.Model(
        Hartree(self_interaction=False, accuracy=1e-5),
        basis=cgdft.Multipoles(width=POINT * angstrom),
        ansatz=cgdft.Fixed(torch.as_tensor(task.charges)),
    )
    structure = _structure(task)

    def run() -> Answer:
        solution = model(structure)
        _ = solution.energy
        _, forces = solution.stress(), solution.forces().detach().numpy()
        return Answer(task.charges, forces / (eV / angstrom), stress=True)

    return run


def _structure(task: Task) -> cgdft.Structure:
    torch.set_num_threads(task.threads)
    return cgdft.Structure(
        torch.as_tensor(task.numbers),
        torch.as_tensor(task.positions) * angstrom,
        torch.diag(torch.as_tensor(task.box)) * angstrom,
        torch.as_tensor(task.pbc),
    )
