"""Clusters of waters and chains of carbon larger than what the trained models know: those of `water` and `chains`."""

from __future__ import annotations

from cgdft.validation.campaigns.point import Point
from cgdft.validation.suites.chains import CHAINS
from cgdft.validation.suites.water import CLUSTERS

suite = [Point(atoms, 0, 0, None, "pbe/def2-svpd", name, polarizability=True) for name, atoms in {**CLUSTERS, **CHAINS}.items()]
