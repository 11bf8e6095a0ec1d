"""No electrostatics: energies of atoms in their surroundings, and nothing that knows the total charge."""

from __future__ import annotations

from cgdft.ansatz import Fixed
from cgdft.basis import Multipoles
from cgdft.learning.architectures._short_range import short_range
from cgdft.learning.environment import Environment
from cgdft.model import Model

#: It has no density to speak of.
LABELS = ("energy", "forces", "stress")


def model(environment: Environment, atoms: dict[str, float]) -> Model:
    """E = sum_i e(h_i) + E0."""
    return Model(short_range(environment, atoms), Multipoles(width=1.0), Fixed(0.0), constraints=[], name="local")
