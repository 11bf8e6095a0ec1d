"""Wrong units of polarizabilities, told from those of free atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.calculators.vdwcorrection import vdWDB_Chu04jcp
from numpy.typing import NDArray

from cgdft.learning.data.frames import Frame
from cgdft.learning.data.scales import MISTAKEN, larger

#: Mean polarizabilities of neutral molecules over the sum of those of their atoms: 0.6 to 0.8 of most, 0.11 of H2 in a minimal
#: basis, 2 of long conjugated ones. Of atoms that are softer, bohr^3, nothing is left where they lose their electrons.
RATIO, SOFT = (0.105, 2.5), 50.0
#: Of free atoms, bohr^3: X. Chu, A. Dalgarno, J. Chem. Phys. 121, 4083 (2004), table I.
FREE: dict[str, float] = {symbol: one[0] for symbol, one in vdWDB_Chu04jcp.items()}  # type: ignore[index]


def check_polarizabilities(frames: Sequence[Frame], unit: str) -> list[str]:
    """Polarizabilities of neutral molecules against those of free atoms.

    Args:
        frames: some of a set.
        unit: in which they were read.
    """
    ratios = _ratios(frames)
    if not len(ratios):
        return []
    middle = float(np.median(ratios))
    if RATIO[0] < middle < RATIO[1]:
        return []
    others = [one for one in MISTAKEN["polarizability"] if RATIO[0] < middle * larger("polarizability", one, unit) < RATIO[1]]
    look = f"they look like {' or '.join(others)}, see `units`" if others else "look at their unit"
    return [f"polarizabilities are {middle:.2g} times those of free atoms (median), of most molecules 0.6 to 0.8: {look}"]


def _ratios(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Of neutral open structures of atoms that are hard, and known."""
    found = []
    for frame in frames:
        structure = frame.structure
        atoms = [FREE.get(symbol, np.inf) for symbol in structure.symbols]
        neutral = not (structure.pbc.any() or structure.charge.any())
        if "polarizability" in frame.labels and neutral and max(atoms) < SOFT:
            found.append(float(frame.labels["polarizability"].diagonal().mean()) / sum(atoms))
    return np.array(found)
