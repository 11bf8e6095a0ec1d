"""Structures drawn at random are those that were drawn: kept with the results that were computed of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cgdft.units import angstrom
from cgdft.validation.campaigns.point import Point
from cgdft.validation.dft.cache import read_arrays


def drawn(suite: str, points: Sequence[Point]) -> list[Point]:
    """The points with the positions of the results that lie beside a suite's file, by name; the others as they are.

    The same random numbers give the same positions only where the same linear algebra is installed.

    Args:
        suite: the suite's `__file__`.
        points: with names.

    Raises:
        ValueError: a result of other atoms than the point of its name.
    """
    path = Path(suite).with_suffix(".h5")
    if not path.exists():
        return list(points)
    kept, found = read_arrays(path, ("numbers", "positions")), []
    for point in points:
        if point.name in kept:
            numbers, positions = kept[point.name]
            if numbers.tolist() != point.atoms.numbers.tolist():
                raise ValueError(f"`points` must have the atoms of their results in {path.name}, got others in {point.name!r}")
            atoms = point.atoms.copy()
            atoms.positions = positions / angstrom
            point = point._replace(atoms=atoms)
        found.append(point)
    return found
