"""Charges and dipoles of the surroundings, shifted to the total charge, learnt from those of the reference."""

from __future__ import annotations

from cgdft.functionals import LocalMultipoles
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Scalar
from cgdft.learning.short_range import ShortRange
from cgdft.model import Model
from cgdft.units import angstrom


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """E = sum_i e(h_i) + E0 + Coulomb energy of Gaussian multipoles p(h_i), l <= 1, of width 0.8 angstrom."""
    whole = LocalMultipoles(Coefficients(environment, lmax=1), 0.8 * angstrom) + ShortRange(Scalar(environment), atoms)
    return whole.replace(name="local charges")
