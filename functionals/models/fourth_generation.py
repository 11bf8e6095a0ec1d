"""Charge equilibration of 4G high-dimensional neural networks: one energy is minimised, another one is reported.

Charges: labelled.
Source: ko2021
"""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functional import Functional
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import CHI, WIDTH
from cgdft.functionals.models.qeq import HARDNESS as QEQ_HARDNESS
from cgdft.functionals.pairwise import Pairwise
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure
from cgdft.terms import Term


def FourthGeneration(
    chi: ParameterLike, hardness: ParameterLike, width: ParameterLike, short_range: Term | Functional
) -> Model:
    """q* = argmin [E_elec + sum_i chi_i q_i + J_i q_i^2 / 2],   E = E_elec(q*) + E_short(q*; R),

    with E_elec the Coulomb energy of Gaussian charges, self-interaction included. The charges are no minimum of E: forces and
    stress follow how they respond.

    Args:
        chi: electronegativity, hartree / e: of the environment, as a module structure -> (n_atoms,), or per element or atom.
        hardness: J, hartree / e^2, per element.
        width: sigma of the Gaussians, bohr, per element.
        short_range: terms of charges and environment.

    Source: T. W. Ko, J. A. Finkler, S. Goedecker, J. Behler, Nat. Commun. 12, 398 (2021).
    """
    return Model(
        Hartree() + Electronegativity(chi) + Hardness(hardness),
        Multipoles(lmax=0, width=width),
        name="4G",
        references=("ko2021",),
        readout=Hartree() + short_range,
    )


def example(structure: Structure) -> Model:
    """QEq's parameters, and a repulsion of nuclei with a hardness of its own for a short range that depends on charges."""
    return FourthGeneration(CHI, QEQ_HARDNESS, WIDTH, Pairwise(strength=1.0, length=0.5) + Hardness(0.05))
