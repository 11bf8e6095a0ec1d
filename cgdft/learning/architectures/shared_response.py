"""Reference multipoles that add up to the total charge by a learnt Fukui function, and a response that conserves it."""

from __future__ import annotations

from cgdft.ansatz import ResponseModes
from cgdft.basis import Multipoles
from cgdft.functionals import Electronegativity
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.directions import DipoleElectronegativity
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Scalar, Shares
from cgdft.learning.susceptibility import BondColumns, DipoleColumns, SusceptibilityFactor
from cgdft.learning.with_charges import WithCharges
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """min over x of sum_i e(h_i) + E0 + chi(h_i).p_i + x^2 / 2 + Coulomb energy of p = p0(h) + L(h) x, l <= 1.

    p0 has the total charge, as that of shared charges; L holds bonds within the cutoff and dipoles: between molecules that are
    further apart no charge flows, as it does where atoms of their own are soft.
    """
    p0 = SharedExcess(Coefficients(environment), Shares(environment))
    charged = WithCharges(environment, p0)
    factor = SusceptibilityFactor(DipoleColumns(charged), BondColumns(charged, environment.cutoff))
    chi = Electronegativity(Scalar(charged)) + DipoleElectronegativity(environment)
    functional = coulomb() + chi + short_range(charged, atoms)
    return Model(functional, Multipoles(1, width=WIDTH), ResponseModes(factor, p0), name="shared response")
