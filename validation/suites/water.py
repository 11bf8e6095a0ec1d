"""Water clusters from one molecule to the ring of six, without and with a uniform field in the ring's plane.

Rings of n molecules: oxygen 2.76 angstrom apart, each molecule (0.97 angstrom, 104.5 degrees) with one hydrogen on the line to
the next oxygen and the other up and down in turn. Not relaxed. The field is 0.005 hartree/(e bohr) = 0.26 V/angstrom along x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import s22

from cgdft.validation.campaigns.point import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cgdft.validation.report.compare import Comparison

FIELD = (0.005, 0.0, 0.0)
OXYGENS, BOND, ANGLE = 2.76, 0.97, np.deg2rad(104.5)  # angstrom


def ring(n: int) -> Atoms:
    """A ring of n water molecules around the z axis."""
    radius = OXYGENS / (2 * np.sin(np.pi / n))
    angles = 2 * np.pi * np.arange(n) / n
    oxygen = radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(n)], axis=1)
    positions = []
    for k in range(n):
        towards = oxygen[(k + 1) % n] - oxygen[k]
        towards = towards / np.linalg.norm(towards)
        outwards = oxygen[k] / radius
        outwards = outwards - (outwards @ towards) * towards
        outwards = outwards / np.linalg.norm(outwards)
        free = 0.6 * outwards + 0.8 * (-1) ** k * np.array([0.0, 0.0, 1.0])
        positions += [
            oxygen[k],
            oxygen[k] + BOND * towards,
            oxygen[k] + BOND * (np.cos(ANGLE) * towards + np.sin(ANGLE) * free),
        ]
    return Atoms("OHH" * n, positions)


CLUSTERS = {"H2O": molecule("H2O"), "(H2O)2": s22["Water_dimer"]} | {f"(H2O){n}": ring(n) for n in (3, 4, 5, 6)}

suite = [Point(atoms, 0, 0, None, "pbe/def2-svp", name, response=True) for name, atoms in CLUSTERS.items()]
suite += [
    Point(atoms, 0, 0, FIELD, "pbe/def2-svp", f"{name} in a field", polarizability=False) for name, atoms in CLUSTERS.items()
]


def figures(comparison: Comparison) -> list[tuple[str, Figure, str]]:
    """What the field does to each cluster: charge moved, between molecules too, and the induced dipole."""
    from cgdft.validation.report.figures import Panel, charges_of, dipole_of, lines, panels_figure

    def moved(who: str, name: str) -> NDArray[np.float64] | None:
        before, after = (charges_of(comparison, who, one) for one in (name, f"{name} in a field"))
        return None if before is None or after is None else after - before

    def between_atoms(who: str, name: str) -> float | None:
        change = moved(who, name)
        return None if change is None else float(np.abs(change).sum()) / 2

    def between_molecules(who: str, name: str) -> float | None:
        change = moved(who, name)
        return None if change is None else float(np.abs(change.reshape(-1, 3).sum(axis=1)).sum()) / 2

    def induced(who: str, name: str) -> float | None:
        before, after = (dipole_of(comparison, who, one) for one in (name, f"{name} in a field"))
        return None if before is None or after is None else float(after[0] - before[0])

    at = {name: len(atoms) / 3 for name, atoms in CLUSTERS.items()}
    quantities = (
        ("charge moved between atoms", "charge (e)", between_atoms),
        ("of it between molecules", "charge (e)", between_molecules),
        ("induced dipole along the field", "dipole (e bohr)", induced),
    )
    panels = [Panel(title, ylabel, drawn) for title, ylabel, value in quantities if (drawn := lines(comparison, at, value))]
    if not panels:
        return []
    caption = (
        "What the field of 0.005 hartree/(e bohr) along x does to clusters of water: half the sum of the absolute changes "
        f"of the charges (by {comparison.label()}) of atoms, and of molecules, and the change of the dipole along the field. "
        "The single molecule is at a right angle to the field: its charges cannot answer, only dipoles of atoms can."
    )
    figure = panels_figure(panels, comparison.models, "molecules in the cluster", columns=3)
    return [("Clusters of water in a field", figure, caption)]
