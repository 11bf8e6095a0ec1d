"""Some steps of a response to its own potential, none of them self-consistent, each with the right charge.

Charges: labelled.
Source: paper2026
"""

from __future__ import annotations

from cgdft.basis import Multipoles
from cgdft.functional import Functional
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.functionals.models.qeq_dipoles import POLARIZABILITY
from cgdft.functionals.responses.stiffening_response import StiffeningResponse
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.response_law import GrandPotential, Response, ResponseLaw
from cgdft.structure import Structure


def TruncatedRecursion(
    law: ResponseLaw | GrandPotential,
    width: ParameterLike,
    steps: int = 2,
    lmax: int = 1,
    readout: Functional | None = None,
    spin: bool = False,
) -> Model:
    """p_0 = 0,   p_(t+1) = F(R, v[p_t] + mu_t),   mu_t such that every p_t has the total charge: shared out by softness.

    Spin-resolved, the number of unpaired electrons is met in every step as well.

    Args:
        law: F; or a grand potential, whose derivative F is.
        width: sigma of the Gaussians, bohr.
        steps: answers; the fixed point is approached where iteration converges.
        lmax: highest multipole.
        readout: the energy, a functional of the density; of a grand potential it is that of the last answer.
        spin: whether the density is spin-resolved; F then answers with a magnetisation too, as `SpinResponse` does.

    Source: arXiv:2603.14700, of the fixed-point family; two steps as in MACE-POLAR-1.
    """
    basis = Multipoles(lmax, width=width, spin=spin)
    return Model(Hartree(), basis, Response(law, steps), name="Truncated recursion", references=("paper2026",), readout=readout)


def example(structure: Structure) -> Model:
    """Two steps of the example of the fixed-point response."""
    return TruncatedRecursion(StiffeningResponse(CHI, HARDNESS, 0.5, POLARIZABILITY), WIDTH)
