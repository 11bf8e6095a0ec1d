"""Charges that are given and do not respond: latent, formal, or those of a reference.

Charges: latent.
Source: cheng2025
"""

from __future__ import annotations

from torch import Tensor

from cgdft.ansatz import CoefficientsLike, Fixed
from cgdft.basis import Multipoles
from cgdft.functionals.hartree import Hartree
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure


def LatentCharges(p0: CoefficientsLike, width: ParameterLike = 1.0, lmax: int = 0, name: str = "latent charges") -> Model:
    """E = Hartree energy of the multipoles p0, which stay as they are.

    Args:
        p0: charges (a number, per element, per atom, a module) or coefficients (n_atoms, (lmax + 1)^2). Their sum must be the
            structure's charge; `.replace(constraints=[])` lifts that.
        width: of the Gaussians, bohr.
        lmax: highest multipole of p0.
        name: how reports call it.

    Source: B. Cheng, npj Comput. Mater. 11, 80 (2025), with p0 learnt; any charges that are known will do.
    """
    return Model(Hartree(), Multipoles(lmax, width=width), ansatz=Fixed(p0), name=name, references=("cheng2025",))


def example(structure: Structure) -> Model:
    """The same charge on every atom."""
    return LatentCharges(_shared)


def _shared(structure: Structure) -> Tensor:
    return (structure.charge / structure.counts)[structure.index, None]
