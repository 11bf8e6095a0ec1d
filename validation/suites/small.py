"""Six neutral molecules, computed when asked for: polar, ionic, quadrupolar, hydrogen-bonded.

Source: geometries of the G2 set in ase.build.molecule, MP2(full)/6-31G(d), Curtiss et al., J. Chem. Phys. 106, 1063 (1997); the
water dimer of the S22 set in ase.collections, CCSD(T), Jurecka et al., Phys. Chem. Chem. Phys. 8, 1985 (2006).
"""

from ase.build import molecule
from ase.collections import s22

from cgdft.validation.campaigns.point import Point

NAMES = ("H2O", "LiF", "CO2", "(H2O)2", "NaCl", "CH3OH")

suite = [Point(s22["Water_dimer"] if name == "(H2O)2" else molecule(name), name=name) for name in NAMES]
