"""Electronegativity differences that count only between atoms whose orbitals overlap."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.electrostatics.pairs import near_pairs
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.structure import Structure

#: Orbitals farther apart than this many times the largest width overlap by less than 1e-18.
REACH = 13.0


class Attenuated(nn.Module):
    """chi'_i = sum_j (chi_i - chi_j) S_ij / sum_j S_ij,  S_ij = (2 w_i w_j / w^2)^(3/2) exp(-r_ij^2 / 2 w^2), hartree / e.

    S is the overlap of the normalised orbitals exp(-r^2 / 2 w_i^2), w^2 = w_i^2 + w_j^2, S_ii = 1. With `Electronegativity` of
    it, two atoms far from each other exchange no charge; an atom and a far molecule do, whose atoms have some left.

    Args:
        chi: electronegativity, hartree / e: a number, per element, per atom, or a module.
        width: w_i, bohr, > 0, likewise; of an orbital whose square is a charge of width sigma sqrt(2) sigma, in the author's
            implementation in Open Babel 3.1 the width of the charge itself.

    Source: J. Chen, D. Hundertmark, T. J. Martinez, J. Chem. Phys. 129, 214113 (2008).
    """

    def __init__(self, chi: ParameterLike, width: ParameterLike) -> None:
        super().__init__()
        self.chi, self.width = AtomParameter(chi, "chi"), AtomParameter(width, "width", positive=True)

    def forward(self, structure: Structure) -> Float[Tensor, " n_atoms"]:
        """chi' of every atom, (n_atoms,)."""
        chi, width = self.chi(structure), self.width(structure)
        i, j, apart = near_pairs(structure, REACH * float(width.detach().max()))
        square = width[i] ** 2 + width[j] ** 2
        overlap = (2 * width[i] * width[j] / square) ** 1.5 * torch.exp(-(apart**2).sum(1) / (2 * square))
        norm = torch.ones_like(chi).index_add(0, i, overlap)
        return torch.zeros_like(chi).index_add(0, i, (chi[i] - chi[j]) * overlap) / norm
