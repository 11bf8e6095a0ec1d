"""A functional of charges and dipoles that need not be quadratic: Coulomb's law and any local energy, learned or analytic.

Charges: labelled.
Source: paper2026
"""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functional import Functional
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.functionals.models.qeq_dipoles import POLARIZABILITY
from cgdft.functionals.stiffening import Stiffening
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure
from cgdft.terms import Term


def EnergyFunctional(local: Term | Functional, width: ParameterLike, lmax: int = 1) -> Model:
    """E[p; R] = G(p; environment) + Hartree, minimised over charges and dipoles at fixed total charge.

    Hartree has the self-interaction of the Gaussians and is convex; so is the whole if G is, and then there is one minimum.

    Args:
        local: G, terms of the package or one's own; their parameters may be modules structure -> (n_atoms,).
        width: sigma of the Gaussians, bohr.
        lmax: highest multipole.

    Source: arXiv:2603.14700, the energy-functional family.
    """
    return Model(Hartree() + local, Multipoles(lmax, width=width), name="Energy functional", references=("paper2026",))


def example(structure: Structure) -> Model:
    """QEq's electronegativities, a hardness that grows with the charge, and polarizable dipoles."""
    inverse = {element: 1 / alpha for element, alpha in POLARIZABILITY.items()}
    local = Electronegativity(CHI) + Stiffening(HARDNESS, scale=0.5) + Hardness(inverse, l=1)
    return EnergyFunctional(local, WIDTH)
