"""Conjugated and saturated carbon chains, C_nH2 and C_nH2n+2 to n = 12: how polarizability grows with length.

Standard bond lengths, not relaxed (angstrom): C-C 1.37 and 1.22 in turn, C-H 1.06 in polyynes; C-C 1.53, C-H 1.10, all angles
tetrahedral, all trans in alkanes. Chains lie along the x axis, the carbons of alkanes in the xy plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from cgdft.validation.campaigns.point import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cgdft.validation.report.compare import Comparison

LENGTHS = (2, 4, 6, 8, 10, 12)
WITH_RESPONSE = ("C4H2", "C8H2", "C12H2", "C4H10", "C8H18")


def polyyne(n: int) -> Atoms:
    """H-(C triple C)_n/2-H."""
    steps = [1.06] + [1.22 if k % 2 == 0 else 1.37 for k in range(n - 1)] + [1.06]
    x = np.concatenate([[0.0], np.cumsum(steps)])
    return Atoms(f"HC{n}H", [[one - x.mean(), 0.0, 0.0] for one in x])


def alkane(n: int) -> Atoms:
    """C_nH2n+2, all trans."""
    half = np.arccos(-1 / 3) / 2  # of the tetrahedral angle
    along, across = 1.53 * np.sin(half), 1.53 * np.cos(half)
    carbon = np.array([[k * along, across * (k % 2), 0.0] for k in range(n)])
    sign = np.where(np.arange(n) % 2 == 0, -1.0, 1.0)
    side = [[0.0, 1.10 * np.cos(half), z * 1.10 * np.sin(half)] for z in (1, -1)]
    hydrogen = [carbon[k] + [0.0, sign[k] * s[1], s[2]] for k in range(n) for s in side]
    for end, direction in ((0, -1.0), (n - 1, 1.0)):
        hydrogen.append(carbon[end] + 1.10 * np.array([direction * np.sin(half), -sign[end] * np.cos(half), 0.0]))
    positions = np.concatenate([carbon, hydrogen])
    return Atoms(f"C{n}H{2 * n + 2}", positions - positions.mean(axis=0))


CHAINS = {f"C{n}H2": polyyne(n) for n in LENGTHS} | {f"C{n}H{2 * n + 2}": alkane(n) for n in LENGTHS}

suite = [Point(atoms, 0, 0, None, "pbe/def2-svp", name, response=name in WITH_RESPONSE) for name, atoms in CHAINS.items()]


def figures(comparison: Comparison) -> list[tuple[str, Figure, str]]:
    """Polarizability along the chain against its length, logarithmic, with exponents fitted to the last three points."""
    from cgdft.validation.report.figures import Panel, lines, panels_figure, polarizability_of

    def along(who: str, name: str) -> float | None:
        alpha = polarizability_of(comparison, who, name)
        return float(alpha[0, 0]) if alpha is not None and alpha[0, 0] > 0 else None

    panels = []
    for family, hydrogens in (("polyynes", lambda n: 2), ("alkanes", lambda n: 2 * n + 2)):
        mine = lines(comparison, {f"C{n}H{hydrogens(n)}": n for n in LENGTHS}, along)
        slopes = {who: float(np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0]) for who, (x, y) in mine.items() if len(x) > 2}
        legend = {who: f"{who}, n^{slopes[who]:.2f}" if who in slopes else who for who in mine}
        if mine:
            panels.append(Panel(family, "polarizability along the chain (bohr³)", mine, legend=legend))
    if not panels:
        return []
    caption = (
        "Polarizability along the chain against the number of carbon atoms n. Exponents are fitted to the last three points: 1 "
        "where the response is local, up to 3 where charge flows freely from end to end. PBE itself lets the polarizability of "
        "conjugated chains grow too fast."
    )
    figure = panels_figure(panels, comparison.models, "carbon atoms n", logarithmic=True)
    return [("Polarizability against the length of chains", figure, caption)]
