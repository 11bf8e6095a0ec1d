"""A metal: the cluster Na8, with the response of its charges and dipoles.

The snub disphenoid (D2d), relaxed with PBE/def2-SVP to 0.02 eV/angstrom; positions in angstrom.
"""

from ase import Atoms

from cgdft.validation.campaigns.point import Point

POSITIONS = (
    (2.3497, 0.7093, 0.0),
    (-2.3497, 0.7093, 0.0),
    (0.0, -0.7093, 2.3497),
    (0.0, -0.7093, -2.3497),
    (1.8527, -2.6184, 0.0),
    (-1.8527, -2.6184, 0.0),
    (0.0, 2.6184, 1.8527),
    (0.0, 2.6184, -1.8527),
)

suite = [Point(Atoms("Na8", POSITIONS), 0, 0, None, "pbe/def2-svp", "Na8", response=True)]
