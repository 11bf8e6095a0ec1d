"""Multipoles fitted to the electrostatic potential around the molecule: a baseline, best outside by construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from cgdft.validation.definitions.coulomb_fit import held_inverse
from cgdft.validation.definitions.definition import LinearDefinition, Width
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.mean_field import BLOCK
from cgdft.validation.dft.surfaces import van_der_waals_shells


@dataclass(frozen=True)
class ESPFit(LinearDefinition):
    """minimise sum_g (V(r_g) - sum_a B_ga p_a)^2   with sum_A q_A = Q,

    with V the potential of the difference density on van der Waals surfaces (1.4 to 2 radii) and B that of unit Gaussian
    multipoles. Linear in the density, W_a = sum_g M_ag / |r - r_g| + u_a S; but the potential outside hardly says what is
    inside: with l = 2, or buried atoms, multipoles become large and mean nothing one by one.

    Source: U. C. Singh, P. A. Kollman, J. Comput. Chem. 5, 129 (1984), for charges.
    """

    lmax: int = 0
    width: Width = None

    def __call__(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """p, (n_atoms, (lmax + 1)^2), e bohr^l; their charges add up to the molecule's exactly."""
        points, fit, outward = self._fit(electrons)
        found = fit @ electrons.potential_difference(points) + outward * electrons.charge
        return found.reshape(electrons.mol.natm, -1)

    def operators(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """W, (n_atoms, (lmax + 1)^2, n_ao, n_ao), bohr^l."""
        points, fit, outward = self._fit(electrons)
        n_ao = electrons.mol.nao
        found = np.einsum("a,ij->aij", outward, electrons.mol.intor("int1e_ovlp"))
        step = max(1, BLOCK // n_ao**2)
        for start in range(0, len(points), step):
            part = slice(start, start + step)
            inverse_distance = electrons.mol.intor("int1e_grids", hermi=1, grids=points[part])
            found += np.einsum("ag,gij->aij", fit[:, part], inverse_distance, optimize=True)
        return found.reshape(electrons.mol.natm, -1, n_ao, n_ao)

    def _fit(self, electrons: ElectronDensity) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Points (m, 3), M (n_coefficients, m) and u (n_coefficients,) with p = M V + u Q."""
        numbers = np.array([atomic_numbers[symbol] for symbol in electrons.symbols])
        points, shell = van_der_waals_shells(numbers, electrons.positions)
        points = points[shell == 0]
        unit = self._unit_potentials(numbers, electrons, points)
        total = (np.arange(unit.shape[1]) % (self.lmax + 1) ** 2 == 0).astype(float)
        inward, outward = held_inverse(unit.T @ unit, total)
        return points, inward @ unit.T, outward

    def _unit_potentials(
        self, numbers: NDArray[np.int64], electrons: ElectronDensity, points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """B (m, n_coefficients): the potential of unit Gaussian multipoles at points."""
        import torch

        from cgdft.density import Density
        from cgdft.structure import Structure

        structure = Structure(torch.from_numpy(numbers), torch.from_numpy(electrons.positions))
        basis, where = self.basis(electrons.symbols), torch.from_numpy(points)
        units = torch.eye(len(numbers) * basis.size, dtype=torch.float64).reshape(-1, len(numbers), basis.size)
        return torch.stack([Density(structure, basis, one).potential(where) for one in units], 1).numpy()
