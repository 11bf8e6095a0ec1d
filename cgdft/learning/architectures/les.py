"""Latent charges of the surroundings in Coulomb's law, learnt from energies and forces alone."""

from __future__ import annotations

from cgdft.functionals import LES
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients, Scalar
from cgdft.learning.short_range import ShortRange
from cgdft.model import Model


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """E = sum_i e(h_i) + E0 + Coulomb energy of Gaussian charges q(h_i), whose sum is free."""
    return (LES(Coefficients(environment, lmax=0)) + ShortRange(Scalar(environment), atoms)).replace(name="LES")
