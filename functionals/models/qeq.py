"""Charge equilibration with the parameters of Rappe and Goddard, Gaussian charges for Slater's.

Charges: labelled.
Source: rappe1991
"""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functional import Functional
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.model import Model
from cgdft.units import eV

#: Electronegativity chi and hardness J (eV): A. K. Rappe, W. A. Goddard, J. Phys. Chem. 95, 3358 (1991), Table I; J of hydrogen
#: at zero charge. Width sigma (bohr): of the Gaussian whose Coulomb integral is closest to that of Table I's Slater orbitals,
#: in the integral over all distances of the squared error; docs/examples/qeq_slater_integrals.py recomputes it.
PARAMETERS = {
    "H": (4.5280, 13.8904, 0.8609),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Li": (3.006, 4.772, 3.7301),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "C": (5.343, 10.126, 1.8182),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "N": (6.899, 11.760, 1.7130),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "O": (8.741, 13.364, 1.5977),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "F": (10.874, 14.948, 1.6912),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Na": (2.843, 4.592, 4.9997),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Si": (4.168, 6.974, 2.8201),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "P": (5.463, 8.000, 2.6425),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "S": (6.928, 8.972, 2.5108),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Cl": (8.564, 9.892, 2.3835),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "K": (2.421, 3.840, 6.1912),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Br": (7.790, 8.850, 2.7318),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Rb": (2.331, 3.692, 6.6179),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "I": (6.822, 7.524, 3.1849),  # Rappe 1991, Table I; width: fit to its Slater orbital
    "Cs": (2.183, 3.422, 7.1143),  # Rappe 1991, Table I; width: fit to its Slater orbital
}
CHI = {element: chi * eV for element, (chi, _, _) in PARAMETERS.items()}
HARDNESS = {element: hardness * eV for element, (_, hardness, _) in PARAMETERS.items()}
WIDTH = {element: width for element, (_, _, width) in PARAMETERS.items()}


def functional() -> Functional:
    """sum_i chi_i q_i + J_i q_i^2 / 2 + sum_(i<j) q_i q_j erf(r / sqrt(2 (sigma_i^2 + sigma_j^2))) / r."""
    return Hartree(self_interaction=False) + Electronegativity(CHI) + Hardness(HARDNESS)


def QEq() -> Model:
    """E = sum_i chi_i q_i + J_i q_i^2 / 2 + sum_(i<j) q_i q_j J_ij(r), minimised at fixed total charge.

    Differs from the paper in two ways: J_ij is between Gaussians fitted to its Slater orbitals, and the orbital of hydrogen,
    with its hardness and integrals, does not depend on its charge; docs/qeq.md gives the effect on charges.

    Source: A. K. Rappe, W. A. Goddard, J. Phys. Chem. 95, 3358 (1991), Table I.
    """
    return Model(functional(), Multipoles(lmax=0, width=WIDTH), name="QEq", references=("rappe1991",))
