"""Atomic multipoles by minimal-basis iterative stockholder partition: the ones that carry the potential best.

The pro-atoms are sums of spherical exponential shells, one for each period up to the atom's own,

    rho_A^0(r) = sum_i N_Ai exp(-|r - R_A| / sigma_Ai) / (8 pi sigma_Ai^3),

whose populations and widths are those of the stockholder shares w_Ai n, w_Ai = rho_Ai^0 / sum rho^0:

    N_Ai = integral w_Ai n d3r,    sigma_Ai = integral w_Ai n |r - R_A| d3r / (3 N_Ai).

Not linear in the density, so it has no conjugate potential: a label and a baseline, not a variable of a functional.

Source: T. Verstraelen, S. Vandenbrande, F. Heidar-Zadeh, L. Vanduyfhuys, V. Van Speybroeck, M. Waroquier, P. W. Ayers,
J. Chem. Theory Comput. 12, 3894 (2016), eqs. 16-20.
"""

from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from cgdft.validation.coarse_grain import GRID_LEVEL, check_residual, integration_grid, solid_harmonics
from cgdft.validation.mean_field import NotConverged, electron_density

NOBLE = (2, 10, 18, 36, 54, 86, 118)
TOLERANCE, MOST = 1e-8, 2000  # of populations, e; iterations
EMPTY = 1e-12  # e; a shell with less keeps its width


def mbis(mol: Any, density_matrix: NDArray[np.float64], lmax: int = 2, level: int = GRID_LEVEL) -> NDArray[np.float64]:
    """p_Alm = Z_A delta_l0 - integral w_A(r) n(r) C_lm(r - R_A) d3r, w_A = sum_i w_Ai.

    The molecule's charge, and with l <= 1, 2 its dipole and quadrupole, are reproduced exactly but for the grid's error.

    Arguments: `mol` the PySCF molecule; `density_matrix` (n_ao, n_ao), spins added; `level` of PySCF's integration grid,
    unpruned. Returns (n_atoms, (lmax+1)^2) in e bohr^l, in the order of `solid_harmonics`. Raises NotConverged, and
    ArithmeticError where charge or dipole is missed by more than 1e-4 e or e bohr.
    """
    grid = integration_grid(mol, level)
    positions, nuclei = mol.atom_coords(), mol.atom_charges().astype(float)
    electrons = grid.weights * electron_density(mol, density_matrix, grid.coords)
    distance = np.linalg.norm(grid.coords[None] - positions[:, None], axis=2)
    owner, population, width = _start(mol, nuclei)
    for _ in range(MOST):
        shells = np.exp(-distance[owner] / width[:, None]) * (population / (8 * np.pi * width**3))[:, None]
        share = shells * (electrons / np.maximum(shells.sum(axis=0), np.finfo(float).tiny))
        found = share.sum(axis=1)
        spread = (share * distance[owner]).sum(axis=1)
        filled = found > EMPTY
        width = np.where(filled, spread / (3 * np.where(filled, found, 1.0)), width)
        change, population = np.abs(found - population).max(), found
        if change < TOLERANCE:
            break
    else:
        raise NotConverged(f"MBIS populations still change by {change:.1e} e after {MOST} iterations")
    multipoles = np.zeros((mol.natm, (lmax + 1) ** 2))
    multipoles[:, 0] = nuclei
    for atom, centre in enumerate(positions):
        multipoles[atom] -= share[owner == atom].sum(axis=0) @ solid_harmonics(grid.coords - centre, lmax)
    check_residual(mol, density_matrix, multipoles, level)
    return multipoles


def _start(mol: Any, nuclei: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Atom, population and width of each shell: filled periods, widths from 1 / (2 Z) of the core to half a bohr outside."""
    owner: list[int] = []
    population: list[float] = []
    width: list[float] = []
    for atom, charge in enumerate(nuclei):
        core = atomic_numbers[mol.atom_pure_symbol(atom)] - charge  # electrons in an effective core potential
        ends = [noble - core for noble in NOBLE if noble > core]
        last = next(k for k, end in enumerate(ends) if charge <= end)
        edges = [0.0, *ends[:last], charge]
        owner += [atom] * (last + 1)
        population += np.diff(edges).tolist()
        width += np.geomspace(1 / (2 * charge), 0.5, last + 1).tolist() if last else [0.5]
    return np.array(owner), np.array(population), np.array(width)
