"""Bonds that are stretched until they break: LiF, NaCl, HF, and one electron between two protons.

Restricted singlets and the doublet H2+. A semilocal functional breaks them into fractional charges, which is its error and not
ours: E(N) of its atoms is a parabola. Levels of both atoms meet there, so occupations are Fermi's at 0.005 hartree, which
changes nothing where there is a gap. Distances in angstrom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase import Atoms

from cgdft.validation.campaigns.point import Point
from cgdft.validation.definitions import CoulombFit, Hirshfeld

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cgdft.validation.report.compare import Comparison

DISTANCES = {
    "LiF": (1.2, 1.4, 1.564, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0),
    "NaCl": (1.9, 2.1, 2.361, 2.6, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0),
    "HF": (0.7, 0.8, 0.917, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0),
    "H2+": (0.6, 0.8, 1.057, 1.4, 1.8, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0),
}
#: Larger changes of the charge from one distance to the next, e, are those of the state.
JUMP = 0.2
DEFINITIONS = (Hirshfeld(), CoulombFit())

suite = [
    Point(
        Atoms(name.rstrip("+").replace("H2", "HH"), [[0, 0, 0], [0, 0, distance]]),
        int(name.endswith("+")),
        int(name.endswith("+")),
        None,
        "pbe/def2-tzvp",
        f"{name} {distance:.3f}",
        DEFINITIONS,
        polarizability=False,
        smearing=0.005,
    )
    for name, distances in DISTANCES.items()
    for distance in distances
]


def figures(comparison: Comparison) -> list[tuple[str, Figure, str]]:
    """For each bond the charge of its first atom against the distance."""
    from cgdft.validation.report.figures import REFERENCE, Panel, charges_of, lines, panels_figure

    def first(who: str, name: str) -> float | None:
        charges = charges_of(comparison, who, name)
        return None if charges is None else float(charges[0])

    panels, ends, jumps = [], [], []
    for bond, distances in DISTANCES.items():
        at = {f"{bond} {distance:.3f}": distance for distance in distances}
        stored = {name: x for name, x in at.items() if name in comparison.references}
        if not stored:
            continue
        mine = lines(comparison, stored, first)
        others = dict.fromkeys(
            name for one in stored for name in comparison.references[one].moments if name != comparison.label()
        )
        beside = {
            f"reference, {one}": (list(stored.values()), [comparison.references[name].moments[one][0, 0] for name in stored])
            for one in others
        }
        panels.append(Panel(bond, "charge of the first atom (e)", mine, beside))
        x, y = mine[REFERENCE]
        broken = [k for k in range(1, len(x)) if abs(y[k] - y[k - 1]) > JUMP]
        last = broken[0] - 1 if broken else -1
        ends.append(f"{y[last]:+.2f} e in {bond} at {x[last]:g} angstrom")
        jumps += [f"{bond} at {x[k]:g} angstrom" for k in broken]
    if not panels:
        return []
    caption = (
        f"Charge of the first atom of each bond against the distance; the reference by {comparison.label()}, other definitions "
        "dashed. Neutral atoms far apart have no charge, and an electron shared by two protons is half on each; a semilocal "
        "functional such as PBE leaves fractional charges on the atoms of polar bonds, as its energy is convex between whole "
        "numbers of electrons where the exact one is straight. That is an error of the reference. "
        f"Its charges at the longest distance{' before a jump' if jumps else ''}: {', '.join(ends)}."
    )
    if jumps:
        caption += f" Where they jump ({', '.join(jumps)}), self-consistency ended in another state: do not judge models there."
    return [
        ("Charges along the dissociation of bonds", panels_figure(panels, comparison.models, "distance (angstrom)"), caption)
    ]
