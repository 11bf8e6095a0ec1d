"""The integration grid of partitions in real space, and a check of what it integrates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.moments import molecular_moments

LEVEL = 5  # of PySCF's grids, with all directions kept; level 4 is the first that meets 1e-6 e bohr for small molecules
LARGEST_RESIDUAL = 1e-4  # e and e bohr


def integration_grid(mol: Any, level: int) -> Any:
    """PySCF's grid of the molecule with all directions kept: `coords` (m, 3) in bohr, `weights` (m,) in bohr^3."""
    from pyscf.dft import gen_grid

    grid = gen_grid.Grids(mol)
    grid.level, grid.prune = level, None
    return grid.build(with_non0tab=False)


def residual(electrons: ElectronDensity, multipoles: NDArray[np.float64]) -> float:
    """Largest error of the multipoles' total charge (e) and, with l >= 1, dipole (e bohr) against the exact ones."""
    charge, vector, _ = molecular_moments(electrons.positions, multipoles)
    errors = [charge - electrons.charge]
    if multipoles.shape[1] > 1:
        errors += list(vector - electrons.dipole)
    return float(np.max(np.abs(errors)))


def check_residual(electrons: ElectronDensity, multipoles: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """The multipoles; raises ArithmeticError where they miss charge or dipole by more than 1e-4 e or e bohr."""
    error = residual(electrons, multipoles)
    if not error <= LARGEST_RESIDUAL:
        raise ArithmeticError(
            f"`level` must be a grid that integrates the density, got {level}, which misses the total "
            f"charge or dipole by {error:.1e} e or e bohr: pass a higher level (at most 9)"
        )
    return multipoles
