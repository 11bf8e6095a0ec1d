"""Polarizable atoms: charges stay, every atom has a dipole that answers to the field, damped at short distance.

Charges: latent.
Source: vanduijnen1998, thole1981
"""

from __future__ import annotations

from collections.abc import Mapping

from cgdft.ansatz import CoefficientsLike, SplitCharges
from cgdft.basis import Multipoles
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq_dipoles import POLARIZABILITY as OF_ATOMS_AND_IONS
from cgdft.model import Model

#: Polarizability of an atom in a molecule, bohr^3: P. Th. van Duijnen, M. Swart, J. Phys. Chem. A 102, 2399 (1998), exponential
#: damping, fitted to experiment. Elements that are not there: as in `QEqDipoles`, neutral atoms and cations of alkali metals.
POLARIZABILITY = {
    **OF_ATOMS_AND_IONS,
    "H": 2.7927,  # van Duijnen 1998
    "C": 8.6959,  # van Duijnen 1998
    "N": 6.5565,  # van Duijnen 1998
    "O": 5.7494,  # van Duijnen 1998
    "F": 3.0013,  # van Duijnen 1998
    "S": 16.6984,  # van Duijnen 1998
    "Cl": 16.1979,  # van Duijnen 1998
    "Br": 23.5714,  # van Duijnen 1998
    "I": 36.9880,  # van Duijnen 1998
}
#: sigma / alpha^(1/3). Thole's dipoles interact as points with densities a^3 exp(-a u) / 8 pi, u = r / (alpha_i alpha_j)^(1/6),
#: a = 2.1304. The interaction of Gaussian dipoles of two like atoms is closest to it, in the integral over space of the squared
#: error, where the Gaussian of width sqrt(2) sigma is closest to that density; tests/test_model_fluctuating_dipoles.py.
DAMPING = 0.52579


def FluctuatingDipoles(p0: CoefficientsLike | None = None, polarizability: Mapping[str, float] = POLARIZABILITY) -> Model:
    """E = sum_i d_i^2 / (2 alpha_i) + Coulomb energy of Gaussian charges q0 and dipoles d, an atom's with itself left out.

    Mean polarizabilities of 16 small molecules are off experiment by 7 %, mostly too small; by 5 % with Thole's own damping.

    Args:
        p0: charges q0, e: a number, per element, per atom, a module; default: the total charge shared equally.
        polarizability: alpha_i per element, bohr^3; widths are 0.526 times its cube root.

    Source: P. Th. van Duijnen, M. Swart, J. Phys. Chem. A 102, 2399 (1998); B. T. Thole, Chem. Phys. 59, 341 (1981).
    """
    return Model(
        Hartree(self_interaction=False) + Hardness({element: 1 / alpha for element, alpha in polarizability.items()}, l=1),
        Multipoles(lmax=1, width={element: DAMPING * alpha ** (1 / 3) for element, alpha in polarizability.items()}),
        SplitCharges(bonds=[], p0=p0),  # no bond: charges stay, dipoles are free
        name="Fluctuating dipoles",
        references=("vanduijnen1998", "thole1981"),
    )
