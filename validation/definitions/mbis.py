"""Multipoles by minimal-basis iterative stockholder partition: the ones that carry the potential best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from cgdft.validation.definitions.definition import Definition, Width
from cgdft.validation.definitions.grid import LEVEL, check_residual, integration_grid
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.moments import solid_harmonics

NOBLE = (2, 10, 18, 36, 54, 86, 118)
TOLERANCE, MOST = 1e-8, 2000  # of populations, e; iterations
STEADY, LOOK = 1e-6, 50  # of multipoles, in e and lengths of the molecule, that have not changed for so many iterations
EMPTY = 1e-12  # e; a shell with less keeps its width


@dataclass(frozen=True)
class MBIS(Definition):
    """p_Alm = Z_A delta_l0 - integral w_A(r) n(r) C_lm(r - R_A) d3r,   w_A = sum_i n_Ai^0 / sum_Bj n_Bj^0.

    The pro-atoms are sums of spherical exponential shells, one for each period up to the atom's own,

        n_A^0(r) = sum_i N_Ai exp(-|r - R_A| / s_Ai) / (8 pi s_Ai^3),

    whose populations and widths are those of the shares w_Ai n: N_Ai = integral w_Ai n d3r, s_Ai = integral w_Ai n
    |r - R_A| d3r / (3 N_Ai). Not linear in the density, so without a conjugate potential: a label and a baseline, not a
    variable. The molecule's charge, and with l <= 1, 2 its dipole and quadrupole, are reproduced exactly but for the grid's
    error. Where two shells of an atom are nearly alike, as in Li+, they exchange electrons without end; then multipoles that
    are steady are the result.

    Args:
        level: of PySCF's integration grid, unpruned.

    Raises:
        NotConverged: at the call, shells that do not become steady.
        ArithmeticError: at the call, charge or dipole is missed by more than 1e-4 e or e bohr.

    Source: T. Verstraelen, S. Vandenbrande, F. Heidar-Zadeh, L. Vanduyfhuys, V. Van Speybroeck, M. Waroquier, P. W. Ayers,
    J. Chem. Theory Comput. 12, 3894 (2016), eqs. 16-20.
    """

    lmax: int = 2
    width: Width = None
    level: int = LEVEL

    def __call__(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """p, (n_atoms, (lmax + 1)^2), e bohr^l."""
        grid = integration_grid(electrons.mol, self.level)
        nuclei, positions = electrons.mol.atom_charges().astype(float), electrons.positions
        density = grid.weights * electrons.at(grid.coords)
        distance = np.linalg.norm(grid.coords[None] - positions[:, None], axis=2)
        owner, population, width = _start(electrons.symbols, nuclei)

        def multipoles(share: NDArray[np.float64]) -> NDArray[np.float64]:
            found = np.zeros((len(nuclei), (self.lmax + 1) ** 2))
            found[:, 0] = nuclei
            for atom, centre in enumerate(positions):
                found[atom] -= share[owner == atom].sum(axis=0) @ solid_harmonics(grid.coords - centre, self.lmax)
            return found

        extent = max(1.0, float(np.linalg.norm(positions[:, None] - positions, axis=2).max()))
        scale = extent ** np.repeat(np.arange(self.lmax + 1), 2 * np.arange(self.lmax + 1) + 1)
        before: NDArray[np.float64] | float = np.inf
        for iteration in range(1, MOST + 1):
            shells = np.exp(-distance[owner] / width[:, None]) * (population / (8 * np.pi * width**3))[:, None]
            share = shells * (density / np.maximum(shells.sum(axis=0), np.finfo(float).tiny))
            found = share.sum(axis=1)
            spread = (share * distance[owner]).sum(axis=1)
            filled = found > EMPTY
            width = np.where(filled, spread / (3 * np.where(filled, found, 1.0)), width)
            change, population = np.abs(found - population).max(), found
            if change < TOLERANCE:
                break
            if iteration % LOOK == 0:
                now = multipoles(share)
                if (np.abs(now - before) / scale).max() < STEADY:
                    break
                before = now
        else:
            raise NotConverged(f"MBIS populations still change by {change:.1e} e after {MOST} iterations")
        return check_residual(electrons, multipoles(share), self.level)


def _start(
    symbols: tuple[str, ...], nuclei: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Atom, population and width of each shell: filled periods, widths from 1 / (2 Z) of the core to half a bohr outside."""
    owner: list[int] = []
    population: list[float] = []
    width: list[float] = []
    for atom, (symbol, charge) in enumerate(zip(symbols, nuclei, strict=True)):
        core = atomic_numbers[symbol] - charge  # electrons in an effective core potential
        ends = [noble - core for noble in NOBLE if noble > core]
        last = next(k for k, end in enumerate(ends) if charge <= end)
        edges = [0.0, *ends[:last], charge]
        owner += [atom] * (last + 1)
        population += np.diff(edges).tolist()
        width += np.geomspace(1 / (2 * charge), 0.5, last + 1).tolist() if last else [0.5]
    return np.array(owner), np.array(population), np.array(width)
