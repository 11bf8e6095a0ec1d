"""The linear response of coarse multipoles, dp_a/dv_b, from DFT or from a model: one object, so that the two are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cgdft.solution import Solution
    from cgdft.validation.dft.reference import Reference


@dataclass(frozen=True, eq=False)
class Susceptibility:
    """chi_ab = dp_a/dv_b at fixed total charge, e^2/hartree; negative semidefinite, as E gains sum_a v_a p_a.

    Args:
        symbols, positions: of the atoms, (n, 3) in bohr.
        matrix: (n k, n k), the k multipoles of an atom adjoining: charge, then dipole and so on in e3nn's order.
    """

    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.symbols)
        if self.matrix.ndim != 2 or self.matrix.shape[0] != self.matrix.shape[1] or self.matrix.shape[0] % n:
            raise ValueError(f"`matrix` must be square, with as many rows for each of {n} atoms, got shape {self.matrix.shape}")

    @classmethod
    def of_reference(cls, reference: Reference) -> Susceptibility:
        """From coupled-perturbed Kohn-Sham; raises ValueError for a reference without it."""
        if reference.susceptibility is None:
            raise ValueError("`reference` must have a susceptibility, got none: compute it with response=True")
        symbols = tuple(chemical_symbols[number] for number in reference.numbers)
        return cls(symbols, reference.positions, reference.susceptibility)

    @classmethod
    def of_solution(cls, solution: Solution) -> Susceptibility:
        """From the minimum of a model on one structure; raises ValueError for a batch."""
        structure = solution.structure
        if len(structure) != 1:
            raise ValueError(f"`solution` must be of one structure, got {len(structure)}")
        symbols = tuple(chemical_symbols[number] for number in structure.numbers.tolist())
        return cls(symbols, structure.positions.detach().numpy(), solution.susceptibility()[0].detach().numpy())

    @property
    def size(self) -> int:
        """Multipoles of an atom, k."""
        return len(self.matrix) // len(self.symbols)

    @property
    def charges(self) -> NDArray[np.float64]:
        """dq_i/dv_j (n, n), e^2/hartree."""
        return self.matrix[:: self.size, :: self.size]

    @property
    def polarizability(self) -> NDArray[np.float64]:
        """alpha = -X chi X^T (3, 3), bohr^3, with X the dipole of each unit charge, and of each dipole where there are."""
        lever = np.zeros((3, len(self.matrix)))
        lever[:, :: self.size] = self.positions.T
        for axis in range(3 if self.size > 1 else 0):
            lever[axis, 1 + axis :: self.size] = 1.0
        return -lever @ self.matrix @ lever.T

    @property
    def charge_polarizability(self) -> NDArray[np.float64]:
        """The part of alpha (3, 3), bohr^3, that charges carry alone."""
        return -self.positions.T @ self.charges @ self.positions

    @property
    def distances(self) -> NDArray[np.float64]:
        """R_ij (n, n), bohr."""
        return np.asarray(np.linalg.norm(self.positions[:, None] - self.positions, axis=2))

    @property
    def range(self) -> float:
        """sum_ij |chi_ij| R_ij / sum_ij |chi_ij| over pairs of charges i != j, bohr: how far charge goes."""
        apart = ~np.eye(len(self.symbols), dtype=bool)
        weight = np.abs(self.charges[apart])
        return float((weight * self.distances[apart]).sum() / weight.sum())

    @property
    def modes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Softness of each mode of the charges (n,), e^2/hartree, the softest first, and the modes (n, n) as columns."""
        values, vectors = np.linalg.eigh(-self.charges)
        return values[::-1], vectors[:, ::-1]

    @property
    def hardness_kernel(self) -> NDArray[np.float64]:
        """K = -chi^-1 of the charges at fixed total charge (n, n), hartree/e^2; zero as well on what does not respond."""
        n = len(self.symbols)
        neutral = np.linalg.svd(np.ones((1, n)))[2][1:].T  # (n, n - 1), orthonormal, each column of no charge
        inverse = np.linalg.pinv(-neutral.T @ self.charges @ neutral, rcond=1e-10, hermitian=True)
        return np.asarray(neutral @ inverse @ neutral.T)

    def by_distance(self, edges: Sequence[float], matrix: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """rms of chi_ij (or of another (n, n) `matrix`) over pairs with R_ij between `edges`, bohr; NaN without any."""
        values = self.charges if matrix is None else matrix
        apart = ~np.eye(len(self.symbols), dtype=bool)
        pairs = [apart & (self.distances >= low) & (self.distances < high) for low, high in pairwise(edges)]
        return np.array([np.sqrt(np.mean(values[one] ** 2)) if one.any() else np.nan for one in pairs])

    def error(self, other: Susceptibility) -> float:
        """|chi_other - chi| / |chi| of the charges (Frobenius): element by element."""
        return float(np.linalg.norm(other.charges - self.charges) / np.linalg.norm(self.charges))
