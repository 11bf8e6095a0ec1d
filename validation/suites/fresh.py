"""Molecules and ions of `warm`, disordered and pressed once more: what trained models are asked, and never trained on."""

from __future__ import annotations

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.suites.squeezed import FACTORS, pressed
from cgdft.validation.suites.warm import ELECTRONS, IONS, NEUTRAL, SOFT, around, called

#: Of the random numbers, other than those of `warm` and `squeezed`.
SEED = 2000


def points() -> list[Point]:
    """One of each in disorder, and of the smaller ones one pressed."""
    found = []
    for seed, (name, charge) in enumerate([*((name, 0) for name in NEUTRAL), *IONS.items()]):
        atoms = around(name, SEED + seed, 1)[1]
        told = name != SOFT and atoms.numbers.sum() - charge <= ELECTRONS
        found.append(Point(atoms, charge, 0, None, "pbe/def2-svpd", called(name, charge), polarizability=told))
    return [*found, *pressed(FACTORS, 1, SEED)]


suite = drawn(__file__, points())
