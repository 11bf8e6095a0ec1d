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
    """p_i = p~_i - f_i (sum_j q~_j - Q) / sum_j f_j,0 of given coefficients: a charge that is too much is taken by shares f.

    Args:
        multipoles: a module structure -> p~, (n_atoms, size).
        shares: f, a module structure -> (n_atoms, at most size), charges > 0: what a charge that is added does, the Fukui
            function, with its dipoles where it has some; default: all charges alike.

    Source: R. Zubatyuk, J. S. Smith, B. T. Nebgen, S. Tretiak, O. Isayev, Nat. Commun. 12, 4870 (2021), for charges.
    """

    def __init__(self, multipoles: Callable[[Structure], Tensor], shares: Callable[[Structure], Tensor] | None = None) -> None:
        super().__init__()
        self.multipoles, self.shares = multipoles, shares

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms size"]:
        """Coefficients that add up to the total charge of each structure."""
        p = self.multipoles(structure)
        f = torch.ones_like(p[:, :1]) if self.shares is None else self.shares(structure)
        each = self.excess(structure, p) / structure.total(f[:, 0])
        return p - nn.functional.pad(f, (0, p.shape[1] - f.shape[1])) * each[structure.index, None]

    def excess(self, structure: Structure, p: Tensor | None = None) -> Float[Tensor, " n_structures"]:
        """sum_j q~_j - Q, e: what all atoms share, however far apart they are."""
        p = self.multipoles(structure) if p is None else p
        return structure.total(p[:, 0]) - structure.charge


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
    return LocalMultipoles(_surroundings, width=1.0)


def _surroundings(structure: Structure) -> Tensor:
    i, j, apart = near_pairs(structure, 16.0)
    weight, numbers = 0.02 * torch.exp(-(apart**2).sum(1) / 8)[:, None], structure.numbers
    seen = torch.cat([weight * (numbers[j] - numbers[i])[:, None], weight * numbers[j, None] * apart], 1)
    return seen.new_zeros(structure.n_atoms, 4).index_add(0, i, seen)
