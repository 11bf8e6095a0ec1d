"""Clusters of waters and chains of carbon larger than what the trained models know: of `water` and `chains`, up to 26 atoms."""

from __future__ import annotations

from cgdft.validation.campaigns.point import Point
from cgdft.validation.suites.chains import CHAINS
from cgdft.validation.suites.water import CLUSTERS

#: In atoms; beyond, polarizabilities with diffuse functions take minutes each.
SIZES = range(6, 27)

suite = [
    Point(atoms, 0, 0, None, "pbe/def2-svpd", name, polarizability=True)
    for name, atoms in {**CLUSTERS, **CHAINS}.items()
    if len(atoms) in SIZES
]
