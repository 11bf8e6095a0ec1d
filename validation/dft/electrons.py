"""The electrons of a molecule as a density matrix, beside the neutral atoms from which their deviation is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.dft import mean_field
from cgdft.validation.dft.pro_atoms import ProAtom, pro_atoms


@dataclass(frozen=True, eq=False)
class ElectronDensity:
    """n(r) = sum_ij D_ij phi_i(r) phi_j(r), and rho(r) = sum_A n_A^0(|r - R_A|) - n(r) with neutral spherical atoms n_A^0.

    rho is the difference density: positive where electrons are missing; the nuclei of molecule and atoms cancel.

    Args:
        mol: PySCF's molecule.
        matrix: D (n_ao, n_ao), spins added.
        atoms: neutral spherical atoms by symbol.
    """

    mol: Any
    matrix: NDArray[np.float64]
    atoms: Mapping[str, ProAtom]

    @classmethod
    def of(cls, mf: Any, method: str) -> ElectronDensity:
        """The density of a converged mean field, and neutral atoms of the same `method` "xc/basis"."""
        symbols = [mf.mol.atom_pure_symbol(atom) for atom in range(mf.mol.natm)]
        return cls(mf.mol, mean_field.total_density_matrix(mf), pro_atoms(symbols, method))

    @property
    def positions(self) -> NDArray[np.float64]:
        """R (n_atoms, 3), bohr."""
        return np.asarray(self.mol.atom_coords())

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Of the atoms, without labels."""
        return tuple(self.mol.atom_pure_symbol(atom) for atom in range(self.mol.natm))

    @property
    def charge(self) -> float:
        """Q, e."""
        return float(self.mol.charge)

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """n (m,) in 1/bohr^3 at `points` (m, 3) in bohr."""
        return mean_field.electron_density(self.mol, self.matrix, points)

    def of_atoms(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """n_A^0 (n_atoms, m) in 1/bohr^3 at `points` (m, 3) in bohr."""
        pairs = zip(self.symbols, self.positions, strict=True)
        return np.stack([self.atoms[symbol].density(points - centre) for symbol, centre in pairs])

    def potential(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of nuclei and electrons (m,) in hartree/e at `points` (m, 3) in bohr; infinite on a nucleus."""
        return mean_field.nuclear_potential(self.mol, points) + mean_field.electron_potential(self.mol, self.matrix, points)

    def potential_difference(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of rho (m,) in hartree/e at `points` (m, 3) in bohr."""
        potential = mean_field.electron_potential(self.mol, self.matrix, points)
        for symbol, centre in zip(self.symbols, self.positions, strict=True):
            potential -= self.atoms[symbol].electron_potential(points - centre)
        return potential

    @property
    def dipole(self) -> NDArray[np.float64]:
        """D (3,) in e bohr, about the origin of coordinates."""
        return mean_field.dipole(self.mol, self.matrix)

    @property
    def quadrupole(self) -> NDArray[np.float64]:
        """Traceless (3, 3) in e bohr^2, about the origin of coordinates."""
        return mean_field.quadrupole(self.mol, self.matrix)
