"""Atomic multipoles of a density functional density: Hirshfeld's stockholder partition of the difference density."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.mean_field import dipole, electron_density
from cgdft.validation.pro_atoms import ProAtom

GRID_LEVEL = 5  # with all directions kept; level 4 is the first that meets 1e-6 e bohr for small molecules
LARGEST_RESIDUAL = 1e-4  # e and e bohr


def solid_harmonics(vectors: NDArray[np.float64], lmax: int = 2) -> NDArray[np.float64]:
    """C_lm(r) = sqrt(4 pi/(2l+1)) r^l Y_lm(r), real, (..., (lmax+1)^2) in bohr^l for `vectors` (..., 3) in bohr.

    Order and signs are e3nn's: 1; x, y, z; sqrt3 xz, sqrt3 xy, y^2 - (x^2+z^2)/2, sqrt3 yz, sqrt3/2 (z^2-x^2).
    """
    if lmax not in (0, 1, 2):
        raise ValueError(f"`lmax` must be 0, 1 or 2, got {lmax}")
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    root = np.sqrt(3.0)
    columns = [np.ones_like(x), x, y, z]
    columns += [root * x * z, root * x * y, y**2 - (x**2 + z**2) / 2, root * y * z, root / 2 * (z**2 - x**2)]
    return np.stack(columns[: (lmax + 1) ** 2], axis=-1)


def molecular_moments(
    positions: NDArray[np.float64], multipoles: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Molecular charge (e), dipole (3,) (e bohr) and quadrupole (3, 3) (e bohr^2) of atomic multipoles.

    Q = sum q, D = sum q R + d, Theta = sum theta + 3/2 (d R + R d) - d.R 1 + q (3 R R - R^2 1)/2, in Buckingham's
    traceless convention and about the origin.

    Arguments: `positions` (n, 3) in bohr, `multipoles` (n, (lmax+1)^2) in the order of `solid_harmonics`.
    """
    full = np.zeros((len(positions), 9))
    full[:, : multipoles.shape[1]] = multipoles
    charge, vector = full[:, 0], full[:, 1:4]
    xz, xy, yy, yz, zx = full[:, 4:].sum(axis=0)
    root = np.sqrt(3.0)
    own = np.array(
        [
            [-(yy + root * zx) / 2, root / 2 * xy, root / 2 * xz],
            [root / 2 * xy, yy, root / 2 * yz],
            [root / 2 * xz, root / 2 * yz, (-yy + root * zx) / 2],
        ]
    )
    mixed = vector.T @ positions
    second = mixed + mixed.T + np.einsum("a,ai,aj->ij", charge, positions, positions)
    total = own + 1.5 * second - 0.5 * np.trace(second) * np.eye(3)
    return float(charge.sum()), charge @ positions + vector.sum(axis=0), total


def stockholder_densities(
    symbols: Sequence[str],
    positions: NDArray[np.float64],
    pro_atoms: Mapping[str, ProAtom],
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """rho_A^0(r - R_A) (n_atoms, m) in 1/bohr^3 of neutral spherical atoms, at `points` (m, 3) in bohr."""
    return np.stack([pro_atoms[symbol].density(points - centre) for symbol, centre in zip(symbols, positions, strict=True)])


def hirshfeld(
    mol: Any,
    density_matrix: NDArray[np.float64],
    pro_atoms: Mapping[str, ProAtom],
    lmax: int = 2,
    level: int = GRID_LEVEL,
) -> NDArray[np.float64]:
    """p_Alm = integral w_A(r) delta(r) C_lm(r - R_A) d3r, with w_A = rho_A^0 / sum_B rho_B^0.

    delta = sum_A rho_A^0 - n is the difference density: positive where electrons are missing, nuclei cancel. The
    molecule's charge, and with l <= 1, 2 its dipole and quadrupole, are reproduced exactly but for the grid's error.

    Arguments: `mol` the PySCF molecule; `density_matrix` (n_ao, n_ao), spins added; `pro_atoms` neutral atoms by
    symbol; `level` of PySCF's integration grid, unpruned. Returns (n_atoms, (lmax+1)^2) in e bohr^l, in the order of
    `solid_harmonics`. Raises ArithmeticError where charge or dipole is missed by more than 1e-4 e or e bohr.

    Source: Hirshfeld, Theor. Chim. Acta 44, 129 (1977), eqs. 4-7.
    """
    grid, positions = integration_grid(mol, level), mol.atom_coords()
    points = grid.coords
    symbols = [mol.atom_pure_symbol(atom) for atom in range(mol.natm)]
    atomic = stockholder_densities(symbols, positions, pro_atoms, points)
    promolecule = atomic.sum(axis=0)
    difference = grid.weights * (promolecule - electron_density(mol, density_matrix, points))
    share = difference / np.maximum(promolecule, np.finfo(float).tiny)
    multipoles = np.stack(
        [(own * share) @ solid_harmonics(points - centre, lmax) for own, centre in zip(atomic, positions, strict=True)]
    )
    check_residual(mol, density_matrix, multipoles, level)
    return multipoles


def integration_grid(mol: Any, level: int) -> Any:
    """PySCF's grid of the molecule with all directions kept."""
    from pyscf.dft import gen_grid

    grid = gen_grid.Grids(mol)
    grid.level, grid.prune = level, None
    return grid.build(with_non0tab=False)


def check_residual(mol: Any, density_matrix: NDArray[np.float64], multipoles: NDArray[np.float64], level: int) -> None:
    """Raise ArithmeticError where multipoles from a grid miss charge or dipole by more than 1e-4 e or e bohr."""
    error = grid_residual(mol, density_matrix, multipoles)
    if not error <= LARGEST_RESIDUAL:
        raise ArithmeticError(
            f"`level` must be a grid that integrates the density, got {level}, which misses the total "
            f"charge or dipole by {error:.1e} e or e bohr: pass a higher level (at most 9)"
        )


def grid_residual(mol: Any, density_matrix: NDArray[np.float64], multipoles: NDArray[np.float64]) -> float:
    """Largest error of the multipoles' total charge (e) and, with l >= 1, dipole (e bohr) against the exact ones."""
    charge, vector, _ = molecular_moments(mol.atom_coords(), multipoles)
    errors = [charge - mol.charge]
    if multipoles.shape[1] > 1:
        errors += list(vector - dipole(mol, density_matrix))
    return float(np.max(np.abs(errors)))
