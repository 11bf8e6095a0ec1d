"""Three to five waters, alone and around ions, beside each other as in `pairs`, though larger: for pretrained models."""

from __future__ import annotations

import numpy as np

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.suites.pairs import assembled

#: The ion, the waters around it, and of how many draws.
DRAWN = (
    *(("", 3, 12), ("", 4, 16), ("", 5, 10)),
    *(("Na+", 3, 5), ("Cl-", 3, 5), ("OH-", 2, 6), ("OH-", 3, 5), ("H3O+", 2, 6), ("H3O+", 3, 5)),
)
RATIO, TRIES = (0.63, 0.78), 48


def points() -> list[Point]:
    """All of `DRAWN`."""
    rng = np.random.default_rng(23)
    found = []
    for ion, waters, draws in DRAWN:
        for k in range(draws):
            atoms, charge = assembled([ion] * bool(ion) + ["H2O"] * waters, RATIO, TRIES, rng)
            found.append(
                Point(atoms, charge, 0, None, "pbe/def2-svpd", f"{ion}(H2O){waters} in a cluster {k}", polarizability=False)
            )
    return found


suite = drawn(__file__, points())
