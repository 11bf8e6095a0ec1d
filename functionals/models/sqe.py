"""Split-charge equilibration: charge moves along bonds, against a hardness of each bond.

Charges: labelled.
Source: nistor2006
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cgdft.ansatz import CoefficientsLike, SplitCharges
from cgdft.basis import Multipoles
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.model import Model
from cgdft.pair_parameter import PairParameterLike
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure


def SQE(
    bond_hardness: PairParameterLike,
    chi: ParameterLike = CHI,
    hardness: ParameterLike | None = HARDNESS,
    width: ParameterLike = WIDTH,
    bonds: Tensor | Sequence[Sequence[int]] | None = None,
    p0: CoefficientsLike | None = None,
) -> Model:
    """E = sum_i chi_i q_i + J_i q_i^2 / 2 + 1/2 sum_bonds kappa_ij x_ij^2 + sum_(i<j) q_i q_j J_ij(r), q_i = q0_i + sum_j x_ij.

    Published bond hardnesses hold for the charges and bond types they were fitted with; there is no set for general use.

    Args:
        bond_hardness: kappa, hartree / e^2, as the hardness of `SplitCharges`. Zero: QEq of each bonded fragment.
        chi, hardness, width: of the atoms, hartree / e, hartree / e^2, bohr; default: QEq's. Without atomic hardness (None) the
            model is atom-atom charge transfer.
        bonds: (n_bonds, 2) atoms; default: by covalent radii, which makes energies jump where bonds come and go: for dynamics
            give them.
        p0: reference charges q0, e; default: the total charge shared equally.

    Source: R. A. Nistor, J. G. Polihronov, M. H. Mueser, N. J. Mosey, J. Chem. Phys. 125, 094108 (2006).
    """
    functional = Hartree(self_interaction=False) + Electronegativity(chi)
    return Model(
        functional if hardness is None else functional + Hardness(hardness),
        Multipoles(lmax=0, width=width),
        SplitCharges(bonds, bond_hardness, p0),
        name="SQE",
        references=("nistor2006",),
    )


def example(structure: Structure) -> Model:
    """A bond hardness of 0.3 hartree / e^2."""
    return SQE(0.3)
