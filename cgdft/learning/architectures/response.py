"""Reference multipoles of the surroundings and a susceptibility, S = L L^T, that may vanish: insulators and conductors."""

from __future__ import annotations

from cgdft.ansatz import ResponseModes
from cgdft.basis import Multipoles
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Scalar
from cgdft.learning.short_range import ShortRange
from cgdft.learning.susceptibility import BondColumns, DipoleColumns, SiteColumns, SusceptibilityFactor
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """min over x of sum_i e(h_i) + E0 + x^2 / 2 + Coulomb energy of p = p0(h) + L(h) x, l <= 1: ACKS2 with dipoles.

    Electronegativity and hardness have no terms of their own: they would be p0 and S again.
    """
    factor = SusceptibilityFactor(
        SiteColumns(environment), DipoleColumns(environment), BondColumns(environment, environment.cutoff)
    )
    functional = coulomb() + ShortRange(Scalar(environment), atoms)
    return Model(functional, Multipoles(1, width=WIDTH), ResponseModes(factor, Coefficients(environment)), name="response")
