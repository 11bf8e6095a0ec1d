"""Ions with their first waters: Na+, Cl-, H3O+, OH-; alone, with one water, and with a first shell.

Constructed, not relaxed: distances from the ion to the nearest atom of each water in angstrom are in the table `SHELLS`;
waters have 0.97 angstrom and 104.5 degrees, and point with their oxygen to cations, with a hydrogen to anions.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from cgdft.validation.campaigns.point import Point

BOND, ANGLE = 0.97, np.deg2rad(104.5)  # angstrom
TETRAHEDRON = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) / np.sqrt(3)


def water(direction: np.ndarray, distance: float, hydrogen_first: bool) -> Atoms:
    """A molecule whose oxygen, or hydrogen, is `distance` along a unit vector from the origin."""
    side = np.cross(direction, [0.31, 0.52, -0.79])
    side = side / np.linalg.norm(side)
    if hydrogen_first:
        near, oxygen = distance * direction, (distance + BOND) * direction
        far = oxygen + BOND * (-np.cos(ANGLE) * direction + np.sin(ANGLE) * side)
        return Atoms("OHH", [oxygen, near, far])
    oxygen, half = distance * direction, ANGLE / 2
    pair = [oxygen + BOND * (np.cos(half) * direction + sign * np.sin(half) * side) for sign in (1, -1)]
    return Atoms("OHH", [oxygen, *pair])


def hydronium() -> Atoms:
    """H3O+, flat to 20 degrees."""
    rise = np.deg2rad(20.0)
    angles = np.deg2rad([0.0, 120.0, 240.0])
    hydrogens = [1.02 * np.array([np.cos(rise) * np.cos(a), np.cos(rise) * np.sin(a), np.sin(rise)]) for a in angles]
    return Atoms("OHHH", [[0, 0, 0], *hydrogens])


IONS = {
    "Na+": (Atoms("Na"), 1),
    "Cl-": (Atoms("Cl"), -1),
    "H3O+": (hydronium(), 1),
    "OH-": (Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), -1),
}
BONDS = hydronium().positions[1:] / 1.02
BELOW = np.array([[np.cos(a) * 0.8, np.sin(a) * 0.8, -0.6] for a in np.deg2rad([0.0, 120.0, 240.0])])
SHELLS = {"Na+": (TETRAHEDRON, 2.35), "Cl-": (TETRAHEDRON, 2.20), "H3O+": (BONDS, 2.58), "OH-": (BELOW, 1.65)}


def solvated(name: str, waters: int) -> Atoms:
    """The ion at the origin with waters along the first directions of its shell."""
    ion, charge = IONS[name]
    directions, distance = SHELLS[name]
    cluster = ion.copy()
    for direction in directions[:waters]:
        cluster += water(direction, distance, hydrogen_first=charge < 0)
    return cluster


suite = [
    Point(solvated(name, count), IONS[name][1], 0, None, "pbe/def2-svpd", name + (f"(H2O){count}" if count else ""))
    for name in IONS
    for count in (0, 1, len(SHELLS[name][0]))
]
