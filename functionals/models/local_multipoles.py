"""Multipoles that the surroundings give, made to add up to the total charge; nothing responds to fields from afar.

Charges: labelled.
Source: unke2019
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.ansatz import Fixed
from cgdft.basis import Multipoles
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals.hartree import Hartree
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure


class SharedExcess(nn.Module):
    """q_i = q~_i - (sum_j q~_j - Q) / N of given coefficients: what is too much is taken from all atoms alike."""

    def __init__(self, multipoles: Callable[[Structure], Tensor]) -> None:
        super().__init__()
        self.multipoles = multipoles

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms size"]:
        """Coefficients that add up to the total charge of each structure."""
        p = self.multipoles(structure)
        excess = (structure.total(p[:, 0]) - structure.charge) / structure.counts
        return torch.cat([p[:, :1] - excess[structure.index, None], p[:, 1:]], 1)


def LocalMultipoles(multipoles: Callable[[Structure], Tensor], width: ParameterLike, lmax: int = 1) -> Model:
    """E = Coulomb energy of Gaussian multipoles p(R), one shot: equivariant functions of the surroundings.

    Args:
        multipoles: a module structure -> p~, (n_atoms, (lmax + 1)^2), whose charges are shifted alike to add up.
        width: of the Gaussians, bohr.
        lmax: highest multipole.

    Source: O. T. Unke, M. Meuwly, J. Chem. Theory Comput. 15, 3678 (2019).
    """
    ansatz = Fixed(SharedExcess(multipoles))
    return Model(Hartree(), Multipoles(lmax, width=width), ansatz, name="Local multipoles", references=("unke2019",))


def example(structure: Structure) -> Model:
    """Charges and dipoles of the neighbours, by atomic number and distance."""

    def surroundings(s: Structure) -> Tensor:
        i, j, apart = near_pairs(s, 16.0)
        weight = 0.02 * torch.exp(-(apart**2).sum(1) / 8)[:, None]
        seen = torch.cat([weight * (s.numbers[j] - s.numbers[i])[:, None], weight * s.numbers[j, None] * apart], 1)
        return seen.new_zeros(s.n_atoms, 4).index_add(0, i, seen)

    return LocalMultipoles(surroundings, width=1.0)
