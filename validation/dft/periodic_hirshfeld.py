"""Hirshfeld's stockholder partition of a periodic difference density, on the mesh of its plane waves.

    p_Alm = sum_L integral w_{A+L}(r) delta(r) C_lm(r - R_A - L) d3r,    w_{A+L} = n_A^0(r - R_A - L) / sum n^0,

over the cell, the images A + L of each atom being partners of their own; delta = sum n^0 - n is positive where electrons
are missing, and of valence electrons only: the pseudised cores cancel. The pro-atoms n^0 are neutral spherical atoms in
the same functional, basis and pseudopotential, tabulated along the radius.

Source: Hirshfeld, Theor. Chim. Acta 44, 129 (1977), eqs. 4-7; the images as in C. Fonseca Guerra, J.-W. Handgraaf,
E. J. Baerends, F. M. Bickelhaupt, J. Comput. Chem. 25, 189 (2004).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from cgdft.validation.dft.mean_field import NotConverged, electron_density, no_checkpoint
from cgdft.validation.dft.moments import solid_harmonics
from cgdft.validation.dft.periodic import PeriodicField, gth

STEP, FARTHEST = 0.005, 40.0  # bohr; of the radial table
TAIL = 1e-7  # e outside the radius at which a pro-atom ends
NEUTRAL = 1e-6  # e, of the table
LARGEST_RESIDUAL = 1e-3  # e, of the cell


@dataclass(frozen=True, eq=False)
class RadialAtom:
    """Valence density of a neutral spherical atom: `spline` in 1/bohr^3 of the radius in bohr, zero from `radius` on."""

    spline: CubicSpline
    radius: float
    valence: int


def radial_atoms(numbers: Iterable[int], xc: str, basis: str) -> Mapping[int, RadialAtom]:
    """Neutral spherical atoms, by atomic number, of all elements in `numbers`."""
    return {number: _radial_atom(number, xc.lower(), basis) for number in sorted({int(number) for number in numbers})}


@cache
def _radial_atom(number: int, xc: str, basis: str) -> RadialAtom:
    """Restricted, spherically averaged self-consistent atom, neutral to 1e-6 e as tabulated, or ArithmeticError.

    Source: Lehtola, Phys. Rev. A 101, 012516 (2020), for the occupations.
    """
    from pyscf import gto
    from pyscf.scf import ADIIS, atom_ks

    symbol = chemical_symbols[number]
    mol = gto.M(atom=[(symbol, (0.0, 0.0, 0.0))], spin=None, cart=False, verbose=0, **gth([symbol], xc, basis))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PySCF's constructor calls what PySCF deprecates
        warnings.simplefilter("ignore", UserWarning)  # one component, which it is, assumed for a projector's integrals
        atom = atom_ks.AtomSphericAverageRKS(mol)
        atom.xc, atom.init_guess, atom.conv_tol = xc, "minao", 1e-10
        atom.grids.atom_grid, atom.grids.prune = (100, 110), None
        atom.diis = ADIIS()
        atom.diis.space = 12
        no_checkpoint(atom)
        atom.kernel()
    if not atom.converged:
        raise NotConverged(f"the neutral spherical {symbol} atom did not converge with {xc} and {basis}: try another basis")
    density_matrix = np.asarray((atom.mo_coeff * atom.mo_occ) @ atom.mo_coeff.T)
    radii = np.arange(0.0, FARTHEST, STEP)
    spline = CubicSpline(radii, electron_density(mol, density_matrix, radii[:, None] * np.array([[0.6, 0.0, 0.8]])))
    inside = CubicSpline(radii, 4 * np.pi * radii**2 * spline(radii)).antiderivative()(radii)
    end = int(np.searchsorted(inside, inside[-1] - TAIL))
    if abs(inside[end] - mol.nelectron) > NEUTRAL:
        raise ArithmeticError(f"the tabulated {symbol} atom holds {inside[end]:.8f} e of {mol.nelectron}, with {xc}/{basis}")
    return RadialAtom(spline, float(radii[end]), int(mol.nelectron))


def promolecule(field: PeriodicField, atoms: Mapping[int, RadialAtom]) -> NDArray[np.float64]:
    """sum_A sum_L n_A^0(r - R_A - L), the shape of `field.density`, in 1/bohr^3."""
    total = np.zeros(field.density.size)
    for number, centre in zip(field.numbers, field.positions, strict=True):
        for index, _, density in _near(field, centre, atoms[int(number)]):
            total += np.bincount(index, density, total.size)
    return total.reshape(field.density.shape)


def hirshfeld(field: PeriodicField, atoms: Mapping[int, RadialAtom], lmax: int = 2) -> NDArray[np.float64]:
    """p_Alm of the formula above (n, (lmax+1)^2) in e bohr^l, in the order of `solid_harmonics`.

    Nothing is renormalised: the charges miss the cell's by what `mesh_residual` returns.

    Args:
        field: a converged cell.
        atoms: neutral atoms by number, from `radial_atoms`.

    Raises:
        ArithmeticError: the charges miss the cell's by more than 1e-3 e.
    """
    total = promolecule(field, atoms)
    volume = np.linalg.det(field.cell) / total.size
    share = (volume * (total - field.density) / np.maximum(total, np.finfo(float).tiny)).ravel()
    multipoles = np.zeros((len(field.numbers), (lmax + 1) ** 2))
    for row, number, centre in zip(multipoles, field.numbers, field.positions, strict=True):
        for index, vectors, density in _near(field, centre, atoms[int(number)]):
            row += (density * share[index]) @ solid_harmonics(vectors, lmax)
    residual = mesh_residual(field, multipoles)
    if not abs(residual) <= LARGEST_RESIDUAL:
        raise ArithmeticError(
            f"`field` must have a mesh that integrates the density, got {field.density.shape}, which misses the cell's charge "
            f"by {residual:.1e} e: solve with a higher cutoff"
        )
    return multipoles


def mesh_residual(field: PeriodicField, multipoles: NDArray[np.float64]) -> float:
    """sum_A q_A - Q in e: what the mesh misses of the pro-atoms, less what it misses of the density."""
    return float(multipoles[:, 0].sum() - field.charge)


def _near(
    field: PeriodicField, centre: NDArray[np.float64], atom: RadialAtom
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Mesh points within an atom's radius, a plane at a time: flat index (m,), r - R (m, 3) in bohr, rho^0 (m,).

    The planes run past the cell's faces: a point there is an image's, and its index is the one inside.
    """
    mesh = np.array(field.density.shape)
    steps = field.cell / mesh[:, None]
    inverse = np.linalg.inv(steps)
    middle = centre @ inverse
    reach = atom.radius * np.linalg.norm(inverse, axis=0)
    first, second, third = (np.arange(low, high + 1) for low, high in _bounds(middle, reach))
    flat = (second % mesh[1])[:, None] * mesh[2] + third % mesh[2]
    offsets = (second - middle[1])[:, None, None] * steps[1] + (third - middle[2])[:, None] * steps[2]
    for plane in first:
        vectors = offsets + (plane - middle[0]) * steps[0]
        distance = np.linalg.norm(vectors, axis=2)
        near = distance < atom.radius
        yield flat[near] + (plane % mesh[0]) * mesh[1] * mesh[2], vectors[near], atom.spline(distance[near])


def _bounds(middle: NDArray[np.float64], reach: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """First and last mesh index along each vector."""
    return zip(np.ceil(middle - reach).astype(int).tolist(), np.floor(middle + reach).astype(int).tolist(), strict=True)
