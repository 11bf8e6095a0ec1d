"""Charges by projection of the difference density on Gaussians in the Coulomb metric: the variable of the exact functional.

    minimise 1/2 integral integral (delta - sum_i q_i g_i)(r) (delta - sum_j q_j g_j)(r') / |r - r'|   with sum_i q_i = Q,

    A q = b - lambda 1,   A_ij = (g_i | g_j),   b_i = (g_i | delta),

with delta the difference density and g_i unit Gaussian charges. Linear in the density: the potential conjugate to q is
sum_i lambda_i w_i, w_i the potential of the Gaussians that are dual to g_i in the space of fixed charge.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cgdft.validation.pro_atoms import ProAtom


def gaussian_metric(positions: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """A_ij = erf(R_ij / sqrt(2 (sigma_i^2 + sigma_j^2))) / R_ij, (n, n) in hartree / e^2; 1 / (sqrt(pi) sigma_i) for i = j."""
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    both = np.sqrt(2 * (widths[:, None] ** 2 + widths**2))
    apart = distance > 0
    safe = np.where(apart, distance, 1.0)
    return np.where(apart, erf(safe / both) / safe, 2 / (np.sqrt(np.pi) * both))


def coulomb_fit(
    mol: Any,
    density_matrix: NDArray[np.float64],
    pro_atoms: Mapping[str, ProAtom],
    widths: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float64]:
    """q (n_atoms,) in e, for Gaussians of `widths` (n_atoms,) in bohr; their sum is the molecule's charge exactly.

    Arguments: `mol` the PySCF molecule; `density_matrix` (n_ao, n_ao), spins added; `pro_atoms` neutral atoms by symbol.
    Raises ValueError for widths that are not positive, one an atom.
    """
    sigma = np.asarray(widths, dtype=float)
    if sigma.shape != (mol.natm,) or not (sigma > 0).all():
        raise ValueError(f"`widths` must be {mol.natm} positive numbers in bohr, one an atom, got {sigma.tolist()}")
    positions = mol.atom_coords()
    metric = gaussian_metric(positions, sigma)
    overlap = -_gaussian_potential(mol, density_matrix, positions, sigma)
    for symbol, centre in zip([mol.atom_pure_symbol(atom) for atom in range(mol.natm)], positions, strict=True):
        atom = pro_atoms[symbol]
        overlap += _gaussian_potential(atom.mol, atom.density_matrix, positions - centre, sigma)
    # the nuclei of molecule and atoms are the same and cancel
    ones = np.ones(mol.natm)
    inward, outward = np.linalg.solve(metric, np.stack([overlap, ones], axis=1)).T
    return np.asarray(inward - outward * (inward.sum() - mol.charge) / outward.sum())


def _gaussian_potential(
    mol: Any, density_matrix: NDArray[np.float64], centres: NDArray[np.float64], widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(g_i | n) (n,) in hartree / e: the Coulomb energy of unit Gaussians in a density of electrons taken positive."""
    from pyscf import df, gto

    result = np.empty(len(centres))
    for i, (centre, width) in enumerate(zip(centres, widths, strict=True)):
        gaussian = gto.fakemol_for_charges(centre[None], 1 / (2 * width**2))
        integrals = df.incore.aux_e2(mol, gaussian, intor="int3c2e", aosym="s1")[:, :, 0]
        result[i] = np.einsum("ij,ji->", integrals, density_matrix)
    return result
