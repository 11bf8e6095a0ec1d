"""Organic molecules of H, C, N, O, F, Si and Cl, their ions and zwitterions in thermal disorder: for pretrained models.

Geometries of the G2 set as in ASE, and of organic.json, made from SMILES by RDKit (ETKDG, then MMFF94: T. A. Halgren,
J. Comput. Chem. 17, 490 (1996); silanolate by UFF). Each as it is and once in disorder. The molecules of `unseen` are left out.
"""

from __future__ import annotations

import json
from pathlib import Path

from ase import Atoms
from ase.build import molecule

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import thermal

OF_G2 = (
    *("C3H4_C3v", "C3H6_D3h", "C3H8", "butadiene", "isobutene", "HCF3", "C2F4", "CH3CH2Cl", "CH2OCH2", "CH2NHCH2", "OCHCHO"),
    *("CH3COCH3", "CH3CONH2", "HCOOCH3", "H2CCHCN", "C2H6NH", "CH3COF", "CH3ONO", "C4H4NH"),
)
#: In organic.json, for `unseen`.
HELD_OUT = (
    *("N-methylacetamide", "alanine", "alanine, zwitterion", "uracil", "toluene", "1,3,5-triazine", "pyridine oxide"),
    *("methyl acetate", "benzaldehyde", "dimethyl carbonate", "propanamine", "propionate", "dimethylammonium", "chlorobenzene"),
    *("isoxazole", "trifluoroethanol", "dimethylsilanol", "propiolic acid", "glycolaldehyde", "2-pyridone"),
)
AMPLITUDE = 0.08


def geometries() -> dict[str, tuple[Atoms, int]]:
    """Of organic.json: atoms and charge by name."""
    told = json.loads(Path(__file__).with_suffix(".json").read_text())
    return {name: (Atoms(one["symbols"], one["positions"]), one["charge"]) for name, one in told.items()}


def points() -> list[Point]:
    """The molecules of `OF_G2` and of the file, but for `HELD_OUT`."""
    others = {name: one for name, one in geometries().items() if name not in HELD_OUT}
    return around({**{name: (molecule(name), 0) for name in OF_G2}, **others}, 5000)


def around(molecules: dict[str, tuple[Atoms, int]], seed: int) -> list[Point]:
    """Each molecule, and one in disorder around it."""
    found = []
    for k, (name, (relaxed, charge)) in enumerate(molecules.items()):
        for n, atoms in enumerate([relaxed, *thermal(relaxed, AMPLITUDE, 1, seed + k)]):
            found.append(Point(atoms, charge, 0, None, "pbe/def2-svpd", f"{name} {n}", polarizability=True))
    return found


suite = drawn(__file__, points())
