"""Latent Ewald summation: charges that the surroundings give, in Coulomb's law, and nothing that responds.

Charges: latent.
Source: cheng2025
"""

from __future__ import annotations

from torch import Tensor

from cgdft.ansatz import CoefficientsLike, Fixed
from cgdft.basis import Multipoles
from cgdft.functionals.hartree import Hartree
from cgdft.model import Model
from cgdft.structure import Structure
from cgdft.units import angstrom


def LES(charges: CoefficientsLike, sigma: float = 1.0 * angstrom) -> Model:
    """E = 2 pi / V sum_(k != 0) exp(-sigma^2 k^2 / 2) / k^2 |sum_i q_i exp(i k.r_i)|^2 - sum_i q_i^2 / (sqrt(2 pi) sigma).

    Gaussians of width sigma / sqrt(2), without their self-interaction; q_i = q_i(R). It is the rigid limit of charge
    equilibration: infinite hardness at given charges.

    Args:
        charges: latent charges, e: a module structure -> (n_atoms, 1), per element, or per atom. Their sum is free.
        sigma: bohr.

    Source: B. Cheng, npj Comput. Mater. 11, 80 (2025), eqs. 3-4; there with 1 / V for 2 pi / V, and with the self-interaction.
    """
    return Model(
        Hartree(self_interaction=False),
        Multipoles(lmax=0, width=sigma / 2**0.5),
        Fixed(charges),
        constraints=[],
        name="LES",
        references=("cheng2025",),
    )


def example(structure: Structure) -> Model:
    """Charges by atomic number that do not add up to the total charge."""
    return LES(_by_number)


def _by_number(structure: Structure) -> Tensor:
    return 0.1 * (structure.numbers[:, None].to(structure.positions) - 5.0) / 3.0
