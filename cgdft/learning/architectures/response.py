"""Reference multipoles of the surroundings and a susceptibility, S = L L^T, that may vanish: insulators and conductors."""

from __future__ import annotations

from cgdft.ansatz import ResponseModes
from cgdft.basis import Multipoles
from cgdft.functionals import Electronegativity
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.directions import DipoleElectronegativity
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Scalar
from cgdft.learning.susceptibility import BondColumns, DipoleColumns, SiteColumns, SusceptibilityFactor
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """min over x of sum_i e(h_i) + E0 + chi(h_i).p_i + x^2 / 2 + Coulomb energy of p = p0(h) + L(h) x, l <= 1.

    ACKS2 with dipoles. p0 - S chi in place of p0 would do without chi, and be learnt worse: a density that comes by way of S
    keeps S from fading in training where no label asks for a response.
    """
    factor = SusceptibilityFactor(
        SiteColumns(environment), DipoleColumns(environment), BondColumns(environment, environment.cutoff)
    )
    chi = Electronegativity(Scalar(environment)) + DipoleElectronegativity(environment)
    functional = coulomb() + chi + short_range(environment, atoms)
    return Model(functional, Multipoles(1, width=WIDTH), ResponseModes(factor, Coefficients(environment)), name="response")
