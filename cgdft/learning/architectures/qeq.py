"""Charge equilibration with electronegativity and hardness of the surroundings."""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functionals import Electronegativity, Hardness
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Scalar
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """min over q of sum_i e(h_i) + E0 + chi(h_i) q_i + eta(h_i) q_i^2 / 2 + Coulomb energy, Gaussians of width 0.8 angstrom."""
    local = Electronegativity(Scalar(environment)) + Hardness(Scalar(environment, 0.15, 0.3, positive=True))
    functional = coulomb() + local + short_range(environment, atoms)
    return Model(functional, Multipoles(0, width=WIDTH), name="QEq")
