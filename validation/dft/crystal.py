"""What a reference holds of a periodic cell: energy, forces, the density on its mesh, and Hirshfeld's multipoles of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cgdft.validation.dft import periodic, periodic_hirshfeld
from cgdft.validation.dft.request import Request

OF_MOLECULES = (
    "dipole",
    "quadrupole",
    "polarizability",
    "susceptibility",
    "spin_moments",
    "potential",
    "potential_difference",
    "plane_potential",
)


def solve_crystal(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The computed fields of a `Reference`, and what its provenance says about how they were computed."""
    xc, basis = request.method.split("/", 1)
    field = periodic.solve(
        request.numbers,
        request.positions,
        request.cell,
        xc,
        basis,
        pbc=request.pbc.tolist(),
        charge=request.charge,
        spin=request.spin,
        smearing=request.smearing,
        cutoff=request.cutoff,
    )
    atoms = periodic_hirshfeld.radial_atoms(request.numbers, xc, basis)
    moments = {one.name: periodic_hirshfeld.hirshfeld(field, atoms, one.lmax) for one in request.definitions}
    accuracy = {"charge_error_e": abs(periodic_hirshfeld.mesh_residual(field, next(iter(moments.values()))))}
    return {
        "energy": field.energy,
        "forces": field.forces,
        "moments": moments,
        "density": field.density.astype(np.float32),
        **dict.fromkeys(OF_MOLECULES),
    }, {
        "settings": {"cutoff_hartree": request.cutoff, "smearing_hartree": request.smearing},
        "accuracy": {**accuracy, **field.accuracy},
        "notes": list(field.notes),
    }
