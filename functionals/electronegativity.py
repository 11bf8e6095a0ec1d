"""The first-order local term of charge equilibration."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term


class Electronegativity(Term):
    """E = sum_i chi_i q_i.

    Args:
        chi: electronegativity, hartree / e: a number, per element, per atom, or a module.

    Source: R. P. Iczkowski, J. L. Margrave, J. Am. Chem. Soc. 83, 3547 (1961).
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, chi: ParameterLike) -> None:
        super().__init__()
        self.chi = AtomParameter(chi, "chi")

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """sum_i chi_i q_i of each structure, hartree."""
        return rho.total(self.chi(rho.structure) * rho.charges)
