"""What learnt densities answer to potentials: L of S = L L^T, by its columns, of atoms and of bonds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cgdft.electrostatics.pairs import fading, separations
from cgdft.learning.environment import Environment
from cgdft.learning.heads import PairFunctions, Scalar, Shares
from cgdft.learning.message_passing import neighbours_once
from cgdft.space import Entries
from cgdft.structure import Structure

#: Of what networks say of bonds before training.
SCALE = 0.3


class Columns(nn.Module, ABC):
    """Some columns of L: a module structure -> `Entries` with rows of atoms that have (lmax + 1)^2 coefficients each.

    Attributes:
        lmax: that of the basis, 0 or 1.
    """

    def __init__(self, lmax: int) -> None:
        super().__init__()
        if lmax not in (0, 1):
            raise ValueError(f"`lmax` must be 0 or 1, got {lmax}")
        self.lmax = lmax

    @abstractmethod
    def forward(self, structure: Structure) -> Entries:
        """(n_atoms (lmax + 1)^2, n_columns)."""

    @property
    def size(self) -> int:
        """Coefficients of an atom."""
        return (self.lmax + 1) ** 2


class SusceptibilityFactor(nn.Module):
    """L = (L_1, L_2, ...), so that S = L_1 L_1^T + L_2 L_2^T + ...: for `ResponseModes`.

    Args:
        parts: columns, all of the same basis.
    """

    def __init__(self, *parts: Columns) -> None:
        super().__init__()
        if len({part.lmax for part in parts}) != 1:
            raise ValueError(f"`parts` must be columns of one basis, got lmax {[part.lmax for part in parts]}")
        self.parts = nn.ModuleList(parts)

    def forward(self, structure: Structure) -> Entries:
        """L, (n_atoms (lmax + 1)^2, n_modes)."""
        found = [part(structure) for part in self.parts]
        before = [sum(one.width for one in found[:k]) for k in range(len(found))]
        columns = torch.cat([one.columns + start for one, start in zip(found, before, strict=True)])
        rows, values = torch.cat([one.rows for one in found]), torch.cat([one.values for one in found])
        carried = [one.carried for one in found if one.carried is not None]
        known = torch.cat(carried) if len(carried) == len(found) else None
        return Entries(rows, columns, values, sum(one.width for one in found), known)


class SiteColumns(Columns):
    """s_i (1, a_i) of each atom: it takes up charge, off its centre by a_i bohr, a vector of the environment; s_i > 0.

    With these the total charge is taken up where s_i^2, the softness, is large: conductors, and several charge states of one
    geometry.

    Args:
        environment: of the atoms.
        lmax: 0 or 1, that of the basis.
        softness: s_i^2 before training, e^2 / hartree.
    """

    def __init__(self, environment: Environment, lmax: int = 1, softness: float = 3.0) -> None:
        super().__init__(lmax)
        self.softness, self.shares = softness, Shares(environment, lmax)

    def forward(self, structure: Structure) -> Entries:
        """A column for each atom."""
        values = math.sqrt(self.softness) * self.shares(structure)
        rows = torch.arange(values.numel(), device=values.device)
        return Entries(rows, rows // self.size, values.flatten(), structure.n_atoms)


class DipoleColumns(Columns):
    """a_i in x, y and z of each atom, a_i^2 a polarizability.

    Args:
        environment: of the atoms.
        polarizability: a_i^2 before training, bohr^3: a number or a function structure -> (n_atoms,).
    """

    def __init__(self, environment: Environment, polarizability: float | Callable[[Structure], Tensor] = 4.0) -> None:
        super().__init__(lmax=1)
        self.site = Scalar(environment, polarizability, 1.0, positive=True)

    def forward(self, structure: Structure) -> Entries:
        """Three columns for each atom."""
        values = self.site(structure).sqrt().repeat_interleave(3)
        columns = torch.arange(len(values), device=values.device)
        rows = columns // 3 * self.size + 1 + columns % 3
        return Entries(rows, columns, values, len(values), values.new_zeros(len(values), 3))


class BondColumns(Columns):
    """b_ij (e_i - e_j) of each pair of atoms: charge that moves between them, to zero at the cutoff; b_ij > 0.

    b_ij is at most twice what it is before training: beyond, charges are those of a conductor and say nothing of b.

    Args:
        environment: of the atoms.
        cutoff: bohr.
        lmax: 0 or 1, that of the basis.
        softness: b_ij^2 before training, far from the cutoff, e^2 / hartree.
    """

    def __init__(self, environment: Environment, cutoff: float, lmax: int = 1, softness: float = 1.0) -> None:
        super().__init__(lmax)
        self.environment, self.cutoff, self.softness = environment, cutoff, softness
        self.pair = PairFunctions(environment, 1)

    def forward(self, structure: Structure) -> Entries:
        """A column for each pair, and image of one, closer than the cutoff."""
        i, j, shift = neighbours_once(self.cutoff, structure)
        apart = separations(structure, i, j, shift)
        both = self.pair(self.environment.invariants(structure), i, j, apart, self.cutoff, both=True)[:, 0]
        bond = 2 * math.sqrt(self.softness) * torch.sigmoid(SCALE * both) * fading(apart, self.cutoff)
        column = torch.arange(len(bond), device=i.device)
        rows, values = torch.cat([i, j]) * self.size, torch.cat([bond, -bond])
        return Entries(rows, column.repeat(2), values, len(bond), bond[:, None] * apart)
