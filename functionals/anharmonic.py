"""Local terms beyond second order in the charge."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term


class Anharmonic(Term):
    """E = sum_i cubic_i q_i^3 / 6 + quartic_i q_i^4 / 24.

    A cubic term makes cations harder than anions; alone it is unbounded below, so give it a quartic one for large charges.

    Args:
        cubic: hartree / e^3: a number, per element, per atom, or a module.
        quartic: hartree / e^4, likewise.
    """

    local = True

    def __init__(self, cubic: ParameterLike = 0.0, quartic: ParameterLike = 0.0) -> None:
        super().__init__()
        self.cubic = AtomParameter(cubic, "cubic")
        self.quartic = AtomParameter(quartic, "quartic")

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """sum_i cubic_i q_i^3 / 6 + quartic_i q_i^4 / 24 of each structure, hartree."""
        q = rho.charges
        return rho.total(self.cubic(rho.structure) * q**3 / 6 + self.quartic(rho.structure) * q**4 / 24)
