"""Stockholder multipoles of the difference density: every atom takes the share that it would have among neutral atoms."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.definitions.definition import LinearDefinition, Width
from cgdft.validation.definitions.grid import LEVEL, check_residual, integration_grid
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.mean_field import BLOCK
from cgdft.validation.dft.moments import solid_harmonics

NEGLIGIBLE = 1e-10  # weight w_A of a point for an atom's operators
OPERATOR_LEVEL = 3  # of the grid for operators: responses to 3e-5


@dataclass(frozen=True)
class Hirshfeld(LinearDefinition):
    """p_Alm = integral w_A(r) rho(r) C_lm(r - R_A) d3r,   w_A = n_A^0 / sum_B n_B^0.

    Linear in the density, with W_Alm,ij = integral w_A C_lm phi_i phi_j. The molecule's charge, and with l <= 1, 2 its dipole
    and quadrupole, are reproduced exactly but for the grid's error.

    Args:
        level: of PySCF's integration grid, unpruned.

    Raises:
        ArithmeticError: at the call, charge or dipole is missed by more than 1e-4 e or e bohr.

    Source: F. L. Hirshfeld, Theor. Chim. Acta 44, 129 (1977), eqs. 4-7.
    """

    lmax: int = 2
    width: Width = None
    level: int = LEVEL

    def __call__(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """p, (n_atoms, (lmax + 1)^2), e bohr^l."""
        points, weights, atomic = self._shares(electrons)
        promolecule = atomic.sum(axis=0)
        return check_residual(
            electrons, self._moments(electrons, points, weights * (promolecule - electrons.at(points)), atomic), self.level
        )

    def spin(self, electrons: ElectronDensity, magnetisation: NDArray[np.float64]) -> NDArray[np.float64]:
        """integral w_A(r) m(r) C_lm(r - R_A) d3r, (n_atoms, (lmax + 1)^2), of m = n_up - n_down; charges sum to its integral.

        Args:
            electrons: of the molecule.
            magnetisation: the density matrix (n_ao, n_ao) of m.
        """
        points, weights, atomic = self._shares(electrons)
        m = ElectronDensity(electrons.mol, magnetisation, electrons.atoms).at(points)
        return self._moments(electrons, points, weights * m, atomic)

    def operators(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """W, (n_atoms, (lmax + 1)^2, n_ao, n_ao), bohr^l."""
        points, weights, atomic = dataclasses.replace(self, level=min(self.level, OPERATOR_LEVEL))._shares(electrons)
        shares = weights * atomic / np.maximum(atomic.sum(axis=0), np.finfo(float).tiny)
        n_ao = electrons.mol.nao
        found = np.zeros((len(atomic), (self.lmax + 1) ** 2, n_ao, n_ao))
        step = max(1, BLOCK // (4 * n_ao))
        for start in range(0, len(points), step):
            part = slice(start, start + step)
            orbitals = electrons.mol.eval_gto("GTOval_sph", points[part])
            for own, share, centre in zip(found, shares[:, part], electrons.positions, strict=True):
                near = share > NEGLIGIBLE * weights[part]
                functions = orbitals[near]
                for matrix, harmonic in zip(own, solid_harmonics(points[part][near] - centre, self.lmax).T, strict=True):
                    matrix += functions.T @ ((share[near] * harmonic)[:, None] * functions)
        return found

    def _shares(self, electrons: ElectronDensity) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Points (m, 3), weights (m,), and the neutral atoms' densities there (n_atoms, m)."""
        grid = integration_grid(electrons.mol, self.level)
        return grid.coords, grid.weights, electrons.of_atoms(grid.coords)

    def _moments(
        self,
        electrons: ElectronDensity,
        points: NDArray[np.float64],
        density: NDArray[np.float64],
        atomic: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        share = density / np.maximum(atomic.sum(axis=0), np.finfo(float).tiny)
        pairs = zip(atomic, electrons.positions, strict=True)
        return np.stack([(own * share) @ solid_harmonics(points - centre, self.lmax) for own, centre in pairs])
