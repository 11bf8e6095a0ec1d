"""Charges and dipoles of the surroundings, and a total charge that is shared by a learnt Fukui function: nothing responds."""

from __future__ import annotations

from cgdft.ansatz import Fixed
from cgdft.basis import Multipoles
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Shares
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """E = sum_i e(h_i) + E0 + Coulomb energy of p(h_i) + f(h_i) (Q - sum_j q(h_j)) / sum_j f(h_j), l <= 1."""
    ansatz = Fixed(SharedExcess(Coefficients(environment), Shares(environment)))
    functional = coulomb() + short_range(environment, atoms)
    return Model(functional, Multipoles(1, width=WIDTH), ansatz, name="shared charges")
