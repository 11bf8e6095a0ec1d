"""Atoms that prefer whole charges: the energy of each is straight between them.

Charges: latent.
Source: perdew1982, nistasd, andersen1999
"""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functionals.derivative_discontinuity import DerivativeDiscontinuity
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import WIDTH
from cgdft.model import Model
from cgdft.units import eV

#: First ionisation energy, eV: NIST Atomic Spectra Database. Electron affinity, eV: T. Andersen, H. K. Haugen, H. Hotop,
#: J. Phys. Chem. Ref. Data 28, 1511 (1999); zero where the anion is not bound (nitrogen).
LEVELS = {
    "H": (13.5984, 0.7542),
    "Li": (5.3917, 0.6180),
    "C": (11.2603, 1.2621),
    "N": (14.5341, 0.0),
    "O": (13.6181, 1.4611),
    "F": (17.4228, 3.4012),
    "Na": (5.1391, 0.5479),
    "Si": (8.1517, 1.3895),
    "P": (10.4867, 0.7465),
    "S": (10.3600, 2.0771),
    "Cl": (12.9676, 3.6127),
    "K": (4.3407, 0.5015),
    "Br": (11.8138, 3.3636),
    "Rb": (4.1771, 0.4859),
    "I": (10.4513, 3.0590),
    "Cs": (3.8939, 0.4716),
}
IONISATION = {element: ionisation * eV for element, (ionisation, _) in LEVELS.items()}
AFFINITY = {element: affinity * eV for element, (_, affinity) in LEVELS.items()}


def IntegerCharges(smoothing: float = 0.05) -> Model:
    """E = sum_i e_i(q_i) + sum_(i<j) q_i q_j J_ij(r),  e_i straight between whole charges with slopes I_i and A_i at q_i = 0.

    Of several minima (neutral atoms, ions) the one downhill from the start is found. That of lower energy mostly follows from
    solving with the widest smoothing first: `start = IntegerCharges(0.5)(s); IntegerCharges()(s, start)`.

    Args:
        smoothing: of the kink at a whole charge, e.

    Source: J. P. Perdew, R. G. Parr, M. Levy, J. L. Balduz, Phys. Rev. Lett. 49, 1691 (1982).
    """
    return Model(
        Hartree(self_interaction=False) + DerivativeDiscontinuity(IONISATION, AFFINITY, smoothing),
        Multipoles(lmax=0, width=WIDTH),
        name="Integer charges",
        references=("perdew1982", "nistasd", "andersen1999"),
    )
