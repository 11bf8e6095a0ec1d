"""Charge transfer with polarization current equalization: electronegativities act only between atoms that overlap.

Charges: latent.
Source: chen2007, chen2008
"""

from __future__ import annotations

import math

from cgdft.basis import Multipoles
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import CHI, HARDNESS
from cgdft.functionals.parameters.attenuated import Attenuated
from cgdft.model import Model

#: Width, bohr, of the Gaussian that acts on itself by the hardness J, so that Hartree's self-interaction is all of it: the rule
#: of the author's implementation in Open Babel 3.1. His papers fit exponents of orbitals instead, which are not used here.
WIDTH = {element: 1 / (math.sqrt(math.pi) * hardness) for element, hardness in HARDNESS.items()}


def QTPIE() -> Model:
    """E = Hartree + sum_i q_i sum_j (chi_i - chi_j) S_ij / sum_j S_ij, S the overlap of Gaussian orbitals.

    Electronegativity, hardness and widths are those of the author's implementation in Open Babel 3.1: the former two QEq's, the
    widths such that the hardness is a Gaussian's own. The oxygen of water has -1.40 e. Two atoms far from each other exchange
    no charge; molecules do, and a field drives it: the polarizability is that of a conductor.

    Source: J. Chen, T. J. Martinez, Chem. Phys. Lett. 438, 315 (2007); in atomic charges J. Chen, D. Hundertmark,
    T. J. Martinez, J. Chem. Phys. 129, 214113 (2008).
    """
    return Model(
        Hartree() + Electronegativity(Attenuated(CHI, WIDTH)),
        Multipoles(lmax=0, width=WIDTH),
        name="QTPIE",
        references=("chen2007", "chen2008"),
    )
