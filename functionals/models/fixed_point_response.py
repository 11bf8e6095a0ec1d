"""A density that is what the potential makes of it, iterated to self-consistency, with an energy of its own.

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


def FixedPointResponse(
    law: ResponseLaw | GrandPotential,
    width: ParameterLike,
    lmax: int = 1,
    readout: Functional | None = None,
    spin: bool = False,
) -> Model:
    """p = F(R, v[p] + mu),   v[p] the potentials of Gaussian multipoles,   mu such that the total charge is kept exactly.

    Args:
        law: F; or a grand potential, whose derivative F is, and with which the model is dual to a functional.
        width: sigma of the Gaussians, bohr.
        lmax: highest multipole.
        readout: the energy, a functional of the density; needed with a law that is no derivative.
        spin: whether the density is spin-resolved; F then answers with a magnetisation too, as `SpinResponse` does.

    Source: arXiv:2603.14700, the fixed-point family.
    """
    basis = Multipoles(lmax, width=width, spin=spin)
    return Model(Hartree(), basis, Response(law), name="Fixed-point response", references=("paper2026",), readout=readout)


def example(structure: Structure) -> Model:
    """The dual of the example of the energy functional."""
    return FixedPointResponse(StiffeningResponse(CHI, HARDNESS, 0.5, POLARIZABILITY), WIDTH)
