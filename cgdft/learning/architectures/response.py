"""Reference multipoles of the surroundings and a susceptibility, S = L L^T, that may vanish: insulators and conductors."""

from __future__ import annotations

from cgdft.ansatz import ResponseModes
from cgdft.basis import Multipoles
from cgdft.functionals import Electronegativity, Hardness
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Scalar, Shares, SusceptibilityFactor
from cgdft.learning.short_range import ShortRange
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """min over x of sum_i e(h_i) + E0 + chi(h_i) q_i + eta(h_i) q_i^2 / 2 + x^2 / 2 + Coulomb energy of p = p0(h) + L(h) x,

    l <= 1, the charges of p0 adding up by shares f(h): ACKS2 with dipoles.
    """
    reference = SharedExcess(Coefficients(environment, lmax=1), Shares(environment, lmax=1))
    factor = SusceptibilityFactor(environment, environment.cutoff)
    local = Electronegativity(Scalar(environment)) + Hardness(Scalar(environment, 0.15, 0.3, positive=True))
    functional = coulomb() + local + ShortRange(Scalar(environment), atoms)
    return Model(functional, Multipoles(1, width=WIDTH), ResponseModes(factor, reference), name="response")
