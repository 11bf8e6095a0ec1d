"""Charges and dipoles of the surroundings, shifted to the total charge, learnt from those of the reference."""

from __future__ import annotations

from cgdft.ansatz import Fixed
from cgdft.basis import Multipoles
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning.architectures._coulomb import WIDTH, coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """E = sum_i e(h_i) + E0 + Coulomb energy of Gaussian multipoles p(h_i), l <= 1, of width 0.8 angstrom."""
    ansatz = Fixed(SharedExcess(Coefficients(environment, lmax=1)))
    functional = coulomb() + short_range(environment, atoms)
    return Model(functional, Multipoles(1, width=WIDTH), ansatz, name="local charges")
