"""Electronegativity differences that count only between atoms whose orbitals overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.electrostatics.pairs import near_pairs
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure

#: Orbitals farther apart than this many times the largest width overlap by less than 1e-18.
REACH = 13.0


class AttenuatedElectronegativity(Term):
    """E = sum_i q_i sum_j (chi_i - chi_j) S_ij / sum_j S_ij,  S_ij = (2 w_i w_j / w^2)^(3/2) exp(-r_ij^2 / 2 w^2).

    S is the overlap of the normalised orbitals exp(-r^2 / 2 w_i^2), w^2 = w_i^2 + w_j^2, S_ii = 1. Two atoms far from each
    other exchange no charge; an atom and a far molecule do, whose atoms have electronegativities left.

    Args:
        chi: electronegativity, hartree / e: a number, per element, per atom, or a module.
        width: w_i, bohr, > 0, likewise; default: the widths of the basis, as in the author's implementation in Open Babel 3.1
            (an orbital whose square is a charge of width sigma has w = sqrt(2) sigma).

    Source: J. Chen, D. Hundertmark, T. J. Martinez, J. Chem. Phys. 129, 214113 (2008).
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, chi: ParameterLike, width: ParameterLike | None = None) -> None:
        super().__init__()
        self.chi = AtomParameter(chi, "chi")
        self.width = None if width is None else AtomParameter(width, "width", positive=True)
        self._known: Tensor | None = None

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with the attenuated electronegativities kept."""
        prepared = super().prepare(structure, basis)
        assert isinstance(prepared, AttenuatedElectronegativity)
        prepared._known = self._attenuated(structure, basis)
        return prepared

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """Sum over the atoms of each structure, hartree."""
        chi = self._attenuated(rho.structure, rho.basis) if self._known is None else self._known
        return rho.total(chi * rho.charges)

    def _attenuated(self, structure: Structure, basis: Multipoles) -> Tensor:
        """sum_j (chi_i - chi_j) S_ij / sum_j S_ij, (n_atoms,)."""
        chi, width = self.chi(structure), (self.width or basis.width)(structure)
        i, j, apart = near_pairs(structure, REACH * float(width.detach().max()))
        square = width[i] ** 2 + width[j] ** 2
        overlap = (2 * width[i] * width[j] / square) ** 1.5 * torch.exp(-(apart**2).sum(1) / (2 * square))
        norm = torch.ones_like(chi).index_add(0, i, overlap)
        return torch.zeros_like(chi).index_add(0, i, (chi[i] - chi[j]) * overlap) / norm
