"""A short-range pair energy of the nuclei alone, for what neutral atoms do to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cgdft.electrostatics.pairs import fading, near_pairs
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import DensityIndependent

if TYPE_CHECKING:
    from cgdft.structure import Structure


class Pairwise(DensityIndependent):
    """E = sum_(i<j) A_ij exp(-r_ij / l_ij) s(r_ij / cutoff),  A_ij = sqrt(A_i A_j),  l_ij = (l_i + l_j) / 2.

    The Born-Mayer repulsion, brought to zero at the cutoff by s(x) = (1 - x^2)^3.

    Args:
        strength: A_i, hartree, > 0: a number, per element, per atom, or a module.
        length: l_i, bohr, > 0, likewise.
        cutoff: bohr.

    Source: M. Born, J. E. Mayer, Z. Phys. 75, 1 (1932).
    """

    def __init__(self, strength: ParameterLike, length: ParameterLike, cutoff: float = 12.0) -> None:
        super().__init__()
        if not (isinstance(cutoff, int | float) and cutoff > 0):
            raise ValueError(f"`cutoff` must be greater than zero, got {cutoff!r}")
        self.strength = AtomParameter(strength, "strength", positive=True)
        self.length = AtomParameter(length, "length", positive=True)
        self.cutoff = cutoff

    def of_structure(self, structure: Structure) -> Tensor:
        """Sum over pairs of each structure, hartree."""
        i, j, u = near_pairs(structure, self.cutoff, both=False)
        r = (u * u).sum(1).sqrt()
        strength, length = self.strength(structure), self.length(structure)
        wall = (strength[i] * strength[j]).sqrt() * torch.exp(-2 * r / (length[i] + length[j]))
        return r.new_zeros(len(structure)).index_add(0, structure.index[i], wall * fading(u, self.cutoff))
