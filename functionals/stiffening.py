"""A local hardness that grows with the charge: convex, and not quadratic."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term


class Stiffening(Term):
    """E = sum_i eta_i s_i^2 (cosh(q_i / s_i) - 1): eta q^2 / 2 for small charges, exponential beyond the scale s.

    Args:
        eta: hardness of the neutral atom, hartree / e^2, > 0: a number, per element, per atom, or a module.
        scale: s, e, > 0, likewise.

    Its dual, the grand potential of what answers, is `StiffeningResponse`.
    """

    local = True
    convex = True

    def __init__(self, eta: ParameterLike, scale: ParameterLike = 1.0) -> None:
        super().__init__()
        self.eta = AtomParameter(eta, "eta", positive=True)
        self.scale = AtomParameter(scale, "scale", positive=True)

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        eta, scale = self.eta(rho.structure), self.scale(rho.structure)
        return rho.total(2 * eta * scale**2 * (rho.charges / (2 * scale)).sinh() ** 2)
