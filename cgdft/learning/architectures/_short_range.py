"""What all architectures share: energies of surroundings and, nearer than any bond, a wall."""

from __future__ import annotations

from cgdft.functional import Functional
from cgdft.functionals import NuclearRepulsion
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Scalar
from cgdft.learning.short_range import ShortRange


def short_range(environment: Environment, atoms: dict[str, float]) -> Functional:
    """sum_i e(h_i) + E0, and `NuclearRepulsion`, which is zero in molecules."""
    return ShortRange(Scalar(environment), atoms) + NuclearRepulsion()
