"""What a reference holds of a molecule or cluster: everything computed from one self-consistent field."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from cgdft.validation.definitions import Hirshfeld, LinearDefinition
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.linear_response import second_derivatives
from cgdft.validation.dft.request import Request
from cgdft.validation.dft.stability import towards_open_shells
from cgdft.validation.dft.surfaces import picture_plane, van_der_waals_shells

#: Up to so many basis functions the error of fitted integrals is looked at.
FEW_ORBITALS = 100


def solve_molecule(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The computed fields of a `Reference`, and what its provenance says about how they were computed."""
    symbols = [chemical_symbols[number] for number in request.numbers]
    xc = request.method.split("/", 1)[0]
    mol = mean_field.build(symbols, request.positions, request.method, request.charge, request.spin)
    if (request.polarizability or request.response) and mean_field.nonlocal_correlation(xc):
        raise ValueError(
            f"`method` must have no nonlocal correlation for linear response, of which PySCF has no kernel, got {xc!r}; pass "
            "polarizability=False, or choose another functional"
        )
    mf = mean_field.solve(mol, xc, density_fit=request.density_fit, field=request.field, smearing=request.smearing)
    electrons = ElectronDensity.of(mf, request.method)
    moments = {one.name: one.of(electrons) for one in request.definitions}
    accuracy = {"charge_error_e": max(abs(float(p[:, 0].sum()) - request.charge) for p in moments.values())}
    accuracy["orbital_gradient"] = float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ)))
    if not (request.spin or request.smearing) and np.isfinite(curvature := towards_open_shells(mf)):
        accuracy["curvature_towards_open_shells"] = curvature
    if request.density_fit and mol.nao <= FEW_ORBITALS:
        accuracy["density_fit_hartree"] = mean_field.fitting_error(mf)
    alpha, chi = _response(request, mf, electrons)
    if alpha is not None:
        accuracy["polarizability_asymmetry_bohr3"] = float(np.abs(alpha - alpha.T).max())
    if chi is not None:
        accuracy["susceptibility_asymmetry"] = float(np.abs(chi - chi.T).max() / np.abs(chi).max())
    points, _ = van_der_waals_shells(request.numbers, request.positions)
    plane = picture_plane(request.positions)
    difference = electrons.potential_difference(np.concatenate([points, plane.reshape(-1, 3)])).astype(np.float32)
    return {
        "energy": float(mf.e_tot),
        "forces": mean_field.forces(mf, xc, request.field),
        "dipole": electrons.dipole,
        "quadrupole": electrons.quadrupole,
        "polarizability": None if alpha is None else (alpha + alpha.T) / 2,
        "susceptibility": None if chi is None else (chi + chi.T) / 2,
        "moments": moments,
        "spin_moments": _spin_moments(mf, electrons),
        "potential": electrons.potential(points).astype(np.float32),
        "potential_difference": difference[: len(points)],
        "plane_potential": difference[len(points) :].reshape(plane.shape[:2]).astype(np.float16),
        "density": None,
    }, {
        "settings": {"smearing_hartree": request.smearing},
        "scf_grid_level": None if xc == "hf" else mf.grids.level,
        "accuracy": accuracy,
    }


def _response(
    request: Request, mf: Any, electrons: ElectronDensity
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """alpha (3, 3) and chi of the first definition up to l = 1, as asked for."""
    definition = request.definitions[0]
    position = mf.mol.intor("int1e_r")
    if request.response:
        assert isinstance(definition, LinearDefinition)
        operators = definition.up_to(1).operators(electrons)
        flat = operators.reshape(-1, mf.mol.nao, mf.mol.nao)
        both = second_derivatives(mf, np.concatenate([position, flat]))
        return -both[:3, :3], both[3:, 3:]
    return (-second_derivatives(mf, position) if request.polarizability else None), None


def _spin_moments(mf: Any, electrons: ElectronDensity) -> NDArray[np.float64] | None:
    """Hirshfeld multipoles of n_up - n_down, l <= 1; None without unpaired electrons."""
    matrices = np.asarray(mf.make_rdm1())
    return Hirshfeld(lmax=1).spin(electrons, matrices[0] - matrices[1]) if matrices.ndim == 3 else None
