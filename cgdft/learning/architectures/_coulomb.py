"""The Coulomb energy of learnt densities: smooth Gaussians, no more exact than the networks need."""

from __future__ import annotations

from cgdft.functionals import Hartree
from cgdft.units import angstrom

#: Of all Gaussians, bohr.
WIDTH = 0.8 * angstrom
#: Relative error of potentials, far below that of any network.
ACCURACY = 1e-5


def coulomb(self_interaction: bool = True) -> Hartree:
    """With the self-interaction, which keeps functionals convex, or without."""
    return Hartree(self_interaction, ACCURACY)
