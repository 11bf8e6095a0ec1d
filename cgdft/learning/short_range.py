"""The energy of what is near, of neutral atoms in the first place: a sum over atoms of functions of their environments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter
from cgdft.structure import Structure
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles


class ShortRange(Term):
    """E = sum_i e_i(h_i) + E0 of the element: it does not depend on the density.

    Args:
        energies: a head structure -> e_i, (n_atoms,), hartree.
        atoms: E0, energy of the free atom, hartree, per element; without it energies are those of binding.
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, energies: Callable[[Structure], Tensor], atoms: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.energies = energies
        self.atoms = None if atoms is None else AtomParameter(dict(atoms), "atoms")
        self._known: Tensor | None = None

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with its energy known."""
        prepared = copy.copy(self)
        prepared._known = self._energy(structure)
        return prepared

    def gradient(self, rho: Density) -> Tensor:
        """Zero."""
        return torch.zeros_like(rho.coefficients)

    def blocks(self, rho: Density) -> Tensor:
        """Zero."""
        return rho.coefficients.new_zeros(len(rho.coefficients), rho.basis.size, rho.basis.size)

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        return self._energy(rho.structure) if self._known is None else self._known

    def _energy(self, structure: Structure) -> Tensor:
        each = self.energies(structure)
        return structure.total(each if self.atoms is None else each + self.atoms(structure))
