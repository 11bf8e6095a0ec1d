"""The energy of what is near, of neutral atoms in the first place: a sum over atoms of functions of their environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from cgdft.parameter import AtomParameter
from cgdft.terms import DensityIndependent

if TYPE_CHECKING:
    from cgdft.structure import Structure


class ShortRange(DensityIndependent):
    """E = sum_i e_i(h_i) + E0 of the element: it does not depend on the density.

    Args:
        energies: a head structure -> e_i, (n_atoms,), hartree.
        atoms: E0, energy of the free atom, hartree, per element; without it energies are those of binding.
    """

    def __init__(self, energies: Callable[[Structure], Tensor], atoms: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.energies = energies
        self.atoms = None if atoms is None else AtomParameter(dict(atoms), "atoms")

    def of_structure(self, structure: Structure) -> Tensor:
        """Sum over the atoms of each structure, hartree."""
        each = self.energies(structure)
        return structure.total(each if self.atoms is None else each + self.atoms(structure))
