"""A functional of charges and dipoles that need not be quadratic, convex by construction, minimised."""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functionals import Electronegativity, Hardness
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.convex import ConvexLocal
from cgdft.learning.directions import DipoleElectronegativity, OffCentre
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Scalar
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """min over (q, d) of sum_i e(h_i) + E0 + chi(h_i).p_i + G(p_i; h_i) + Coulomb energy, G quadratic plus `ConvexLocal`."""
    local = Electronegativity(Scalar(environment)) + Hardness(Scalar(environment, 0.15, 0.3, positive=True))
    dipoles = DipoleElectronegativity(environment) + OffCentre(Scalar(environment, 0.3, 0.3, positive=True), environment)
    whole = local + dipoles + ConvexLocal(environment) + short_range(environment, atoms)
    return Model(coulomb() + whole, Multipoles(1, width=WIDTH), name="nonlinear")
