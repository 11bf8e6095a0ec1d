"""Thirty small molecules and three radicals of H to Cl, with every definition of multipoles and their response.

Source: geometries of the G2 set in ase.build.molecule, MP2(full)/6-31G(d), Curtiss et al., J. Chem. Phys. 106, 1063 (1997).
"""

from ase.build import molecule

from cgdft.validation.campaigns.point import Point
from cgdft.validation.definitions import MBIS, CoulombFit, ESPFit, Hirshfeld

NAMES = (
    "LiH", "CH4", "NH3", "H2O", "HF", "LiF", "C2H2", "C2H4", "C2H6", "HCN", "CO", "H2CO", "CH3OH", "N2", "CO2",
    "N2O", "HCOOH", "CF4", "C6H6", "BF3", "AlF3", "SiH4", "SiF4", "PH3", "H2S", "SO2", "OCS", "HCl", "NaCl", "CH3Cl",
)  # fmt: skip
RADICALS = {"O2": 2, "NO": 1, "CH3": 1}
G2 = {"H2S": "SH2"}  # where the set has another name
DEFINITIONS = (Hirshfeld(), MBIS(), ESPFit(), CoulombFit())

suite = [
    Point(
        molecule(G2.get(name, name)),
        0,
        RADICALS.get(name, 0),
        None,
        "pbe/def2-svpd",
        name,
        DEFINITIONS,
        response=name not in RADICALS,
    )
    for name in (*NAMES, *RADICALS)
]
