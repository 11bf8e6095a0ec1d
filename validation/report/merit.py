"""Figures of merit of coarse-graining definitions: what multipoles on atoms keep of a density, and what they lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.moments import molecular_moments
from cgdft.validation.dft.reference import Reference
from cgdft.validation.report.score import centre_of, moved

if TYPE_CHECKING:
    import torch

    from cgdft.density import Density

#: Narrow enough to act as point multipoles outside 1.4 van der Waals radii, bohr.
POINT_LIKE = 0.5


@dataclass(frozen=True)
class Merit:
    """How well one definition's multipoles up to l = `lmax`, on Gaussians of one width, stand for a molecule.

    Args:
        definition, lmax: of the multipoles.
        dipole, quadrupole: errors of the molecule's moments about the centre of nuclear charge, e bohr, e bohr^2 (Frobenius).
        inner, outer: rms(V - V_ref) / rms(V_ref) on 1.4-2 and 2.25-3 van der Waals radii.
        largest: charge on an atom, e.
    """

    definition: str
    lmax: int
    dipole: float
    quadrupole: float
    inner: float
    outer: float
    largest: float


def merit(reference: Reference, definition: str, lmax: int, width: float | Mapping[str, float] = POINT_LIKE) -> Merit:
    """Figures of merit of one stored definition.

    Args:
        reference: of a molecule.
        definition: a key of `reference.moments`.
        lmax: at most its own.
        width: of the Gaussians, bohr, of all or by element.

    Raises:
        ValueError: another definition, more multipoles than it has, or a reference without potentials (a periodic one).
    """
    if definition not in reference.moments:
        raise ValueError(f"`definition` must be one of {', '.join(reference.moments)}, got {definition!r}")
    moments = reference.moments[definition]
    if (lmax + 1) ** 2 > moments.shape[1]:
        raise ValueError(f"`lmax` must be at most that of {definition}, got {lmax}")
    if reference.potential_difference is None or reference.dipole is None or reference.quadrupole is None:
        raise ValueError("`reference` must be of a molecule, got a periodic cell: it has no moments and no potential outside")
    kept = moments[:, : (lmax + 1) ** 2]
    _, dipole, quadrupole = molecular_moments(reference.positions, kept)
    off = float(kept[:, 0].sum()) - reference.charge, dipole - reference.dipole, quadrupole - reference.quadrupole
    potential = coarse_density(reference, kept, width).potential(_tensor(reference.points)).numpy()
    exact = reference.potential_difference
    inner, outer = (
        float(np.linalg.norm((potential - exact)[here]) / np.linalg.norm(exact[here]))
        for here in (reference.shell == 0, reference.shell == 1)
    )
    return Merit(
        definition,
        lmax,
        float(np.linalg.norm(off[1] - off[0] * centre_of(reference))),
        float(np.linalg.norm(moved(*off, centre_of(reference)))),
        inner,
        outer,
        float(np.abs(kept[:, 0]).max()),
    )


def stretch(references: Sequence[Reference], definition: str) -> float:
    """max over neighbouring geometries of max_A |dq_A| / max_A |dR_A|, e/bohr: how fast charges run while a bond is stretched.

    Args:
        references: of one molecule along a path.
        definition: a key of their moments.

    Raises:
        ValueError: fewer than two, or another definition.
    """
    if len(references) < 2 or any(definition not in one.moments for one in references):
        raise ValueError(f"`references` must be at least two, with moments by {definition!r}, got {len(references)}")
    return max(
        float(np.abs(two.moments[definition][:, 0] - one.moments[definition][:, 0]).max())
        / float(np.linalg.norm(two.positions - one.positions, axis=1).max())
        for one, two in pairwise(references)
    )


def coarse_density(
    reference: Reference, moments: NDArray[np.float64], width: float | Mapping[str, float] = POINT_LIKE
) -> Density:
    """Multipoles (n, (lmax + 1)^2) of a reference's atoms as a `cgdft.Density` of Gaussians of `width`, bohr."""
    from cgdft.basis import Multipoles
    from cgdft.density import Density

    lmax = round(np.sqrt(moments.shape[1])) - 1
    return Density(reference.structure(), Multipoles(lmax, width=width), _tensor(moments))


def frozen_interaction(one: ElectronDensity, other: ElectronDensity) -> float:
    """integral integral c_A(r) c_B(r') / |r - r'| of two frozen charge densities c, nuclei and electrons, hartree: exact.

    What multipoles of both give for it is `coarse_interaction`; the difference at contact is charge penetration.
    """
    from pyscf.scf import jk

    a, b = one.mol, other.mol
    distance = np.linalg.norm(one.positions[:, None] - other.positions, axis=2)
    nuclei = float(a.atom_charges() @ (1 / distance) @ b.atom_charges())
    attraction = 0.0
    for mine, theirs in ((one, other), (other, one)):
        pull = mine.mol.intor("int1e_grids", hermi=1, grids=theirs.positions)
        attraction -= float(np.einsum("a,aij,ji->", theirs.mol.atom_charges(), pull, mine.matrix))
    felt = jk.get_jk((a, a, b, b), other.matrix, scripts="ijkl,lk->ij", intor="int2e_sph", aosym="s4")
    return nuclei + attraction + float(np.einsum("ij,ji->", felt, one.matrix))


def coarse_interaction(
    one: ElectronDensity,
    other: ElectronDensity,
    moments: tuple[NDArray[np.float64], NDArray[np.float64]],
    width: float = POINT_LIKE,
) -> float:
    """sum_ab p_a J_ab p_b between the atoms of two molecules, hartree, with Gaussians.

    Args:
        one, other: molecules.
        moments: (n, (lmax + 1)^2) of both in e bohr^l, of the same lmax.
        width: bohr.
    """
    import torch
    from ase.data import atomic_numbers

    from cgdft.basis import Multipoles
    from cgdft.density import Density
    from cgdft.functionals import Hartree
    from cgdft.structure import Structure

    def energy(parts: list[tuple[ElectronDensity, NDArray[np.float64]]]) -> float:
        numbers = torch.tensor([atomic_numbers[symbol] for part, _ in parts for symbol in part.symbols])
        positions = np.concatenate([part.positions for part, _ in parts])
        values = np.concatenate([p for _, p in parts])
        structure = Structure(numbers, _tensor(positions))
        basis = Multipoles(round(np.sqrt(values.shape[1])) - 1, width=width)
        return float(Hartree().energy(Density(structure, basis, _tensor(values)))[0])

    first, second = (one, moments[0]), (other, moments[1])
    return energy([first, second]) - energy([first]) - energy([second])


def _tensor(values: NDArray[np.float64]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
