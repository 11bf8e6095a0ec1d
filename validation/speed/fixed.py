"""The test with fixed charges: energy, forces and (where a code has it) stress of +1 and -1 in the disordered salt.

Settings of the codes are those that make each fastest at a relative force error of about 1e-4,

    sqrt(sum_i |F_i - F_i(exact)|^2 / sum_i |F_i(exact)|^2),

and the error reached is reported beside the time.
"""

from __future__ import annotations

import numpy as np

from cgdft.validation.speed.systems import Array, System

ACCURACY = 1e-4


def charges(system: System) -> Array:
    """+1 e on sodium, -1 e on chlorine, (n_atoms,).

    Raises:
        ValueError: other elements.
    """
    if not np.isin(system.numbers, (11, 17)).all():
        raise ValueError(f"`system` must hold Na and Cl only, got {system.name}")
    return np.where(system.numbers == 11, 1.0, -1.0)
