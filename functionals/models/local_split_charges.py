"""Charge passed between neighbours as the surroundings say: conserved by construction, with no equation to solve.

Charges: labelled.
Source: metcalf2021
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.ansatz import CoefficientsLike, Fixed, coefficients_of
from cgdft.basis import Multipoles
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals.hartree import Hartree
from cgdft.model import Model
from cgdft.parameter import ParameterLike
from cgdft.structure import Structure


class PassedCharge(nn.Module):
    """q_i = q0_i + sum_j t_ij,  t_ij = f_ij - f_ji = -t_ji,  over neighbours and their images closer than a cutoff."""

    def __init__(
        self, passed: Callable[[Structure, Tensor, Tensor, Tensor], Tensor], cutoff: float, p0: CoefficientsLike | None
    ) -> None:
        super().__init__()
        self.passed, self.cutoff, self.p0 = passed, cutoff, p0

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms 1"]:
        """Charge of every atom."""
        i, j, apart = near_pairs(structure, self.cutoff)
        f = self.passed(structure, i, j, apart)
        if f.shape != i.shape:
            raise ValueError(f"`passed` must give (n_pairs,) = {tuple(i.shape)}, got shape {tuple(f.shape)}")
        f = f[:, None]
        start = coefficients_of(self.p0, structure, Multipoles(width=1.0))
        return start.index_add(0, i, f).index_add(0, j, -f)


def LocalSplitCharges(
    passed: Callable[[Structure, Tensor, Tensor, Tensor], Tensor],
    width: ParameterLike,
    cutoff: float,
    p0: CoefficientsLike | None = None,
) -> Model:
    """E = Coulomb energy of Gaussian charges q_i = q0_i + sum_j t_ij(R), t_ij = -t_ji, one shot.

    Args:
        passed: a module (structure, i, j, R_i - R_j) -> f_ij, e, for each ordered pair; zero at the cutoff; t_ij = f_ij - f_ji.
        width: of the Gaussians, bohr.
        cutoff: bohr.
        p0: q0, e; default: the total charge shared equally.

    Source: D. P. Metcalf, A. Jiang, S. A. Spronk, D. L. Cheney, C. D. Sherrill, J. Chem. Inf. Model. 61, 115 (2021).
    """
    ansatz = Fixed(PassedCharge(passed, cutoff, p0))
    return Model(Hartree(), Multipoles(width=width), ansatz, name="Local split charges", references=("metcalf2021",))


def example(structure: Structure) -> Model:
    """Charge passes to the atom of higher number, less with distance."""
    return LocalSplitCharges(_passed, width=1.0, cutoff=16.0)


def _passed(structure: Structure, i: Tensor, j: Tensor, apart: Tensor) -> Tensor:
    return 0.02 * torch.exp(-(apart**2).sum(1) / 8) * structure.numbers[j]
