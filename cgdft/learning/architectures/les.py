"""Latent charges of the surroundings in Coulomb's law, learnt from energies and forces alone."""

from __future__ import annotations

from cgdft.ansatz import Fixed
from cgdft.basis import Multipoles
from cgdft.learning.architectures._coulomb import coulomb
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Coefficients
from cgdft.model import Model
from cgdft.units import angstrom

#: Charges of a reference are not what these are.
LABELS = ("energy", "forces", "stress")


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """E = sum_i e(h_i) + E0 + Coulomb energy of Gaussian charges q(h_i), whose sum is free, as `cgdft.functionals.LES`."""
    functional = coulomb(self_interaction=False) + short_range(environment, atoms)
    charges = Fixed(Coefficients(environment, lmax=0))
    return Model(functional, Multipoles(0, width=angstrom / 2**0.5), charges, constraints=[], name="LES")
