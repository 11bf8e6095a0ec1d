"""Charges by projection of the difference density on Gaussians in the Coulomb metric: the variable of the exact functional."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cgdft.validation.definitions.definition import LinearDefinition, Width
from cgdft.validation.dft.electrons import ElectronDensity


@dataclass(frozen=True)
class CoulombFit(LinearDefinition):
    """minimise 1/2 integral integral (rho - sum_i q_i g_i)(r) (rho - sum_j q_j g_j)(r') / |r - r'|   with sum_i q_i = Q:

        A q + lambda 1 = b,   A_ij = (g_i | g_j),   b_i = (g_i | rho),

    with g_i unit Gaussian charges of `width`. The functional tested with these charges has the same A as its Hartree term.
    """

    lmax: ClassVar[int] = 0  # type: ignore[misc]
    width: Width = None

    def __call__(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """q, (n_atoms, 1), e; their sum is the molecule's charge exactly."""
        positions, widths = electrons.positions, self.widths(electrons.symbols)
        overlap = -_energies(electrons.mol, electrons.matrix, positions, widths)
        for symbol, centre in zip(electrons.symbols, positions, strict=True):
            atom = electrons.atoms[symbol]
            overlap += _energies(atom.mol, atom.density_matrix, positions - centre, widths)
        inward, outward = held_inverse(gaussian_metric(positions, widths), np.ones(len(positions)))
        return (inward @ overlap + outward * electrons.charge)[:, None]

    def operators(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """W_i,ab = sum_j P_ij (g_j | ab) + u_i S_ab, (n_atoms, 1, n_ao, n_ao), with q = P b + u Q."""
        positions, widths = electrons.positions, self.widths(electrons.symbols)
        inward, outward = held_inverse(gaussian_metric(positions, widths), np.ones(len(positions)))
        potentials = _integrals(electrons.mol, positions, widths)
        counted = outward[:, None, None] * electrons.mol.intor("int1e_ovlp")
        return (np.einsum("ij,jab->iab", inward, potentials) + counted)[:, None]


def gaussian_metric(positions: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """A_ij = erf(R_ij / sqrt(2 (sigma_i^2 + sigma_j^2))) / R_ij, (n, n) in hartree / e^2; 1 / (sqrt(pi) sigma_i) for i = j."""
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    both = np.sqrt(2 * (widths[:, None] ** 2 + widths**2))
    apart = distance > 0
    safe = np.where(apart, distance, 1.0)
    return np.where(apart, erf(safe / both) / safe, 2 / (np.sqrt(np.pi) * both))


def held_inverse(metric: NDArray[np.float64], total: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P (n, n) and u (n,) with p = P b + u Q the minimum of p.A.p / 2 - p.b under total.p = Q, for `metric` A."""
    inverse = np.linalg.inv(metric)
    outward = inverse @ total / (total @ inverse @ total)
    return inverse - np.outer(outward, total @ inverse), outward


def _integrals(mol: Any, centres: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(g_k | ij), (n, n_ao, n_ao), hartree / e: the potential of unit Gaussians between basis functions."""
    from pyscf import df, gto

    found = np.empty((len(centres), mol.nao, mol.nao))
    for k, (centre, width) in enumerate(zip(centres, widths, strict=True)):
        gaussian = gto.fakemol_for_charges(centre[None], 1 / (2 * width**2))
        found[k] = df.incore.aux_e2(mol, gaussian, intor="int3c2e", aosym="s1")[:, :, 0]
    return found


def _energies(
    mol: Any, density_matrix: NDArray[np.float64], centres: NDArray[np.float64], widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(g_i | n) (n,) in hartree / e: the Coulomb energy of unit Gaussians in a density of electrons taken positive."""
    return np.asarray(np.einsum("kij,ji->k", _integrals(mol, centres, widths), density_matrix))
